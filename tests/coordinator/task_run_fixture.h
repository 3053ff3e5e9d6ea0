#ifndef MLEDGE_TESTS_COORDINATOR_TASK_RUN_FIXTURE_H_
#define MLEDGE_TESTS_COORDINATOR_TASK_RUN_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "mledge/coordinator/task_run.h"
#include "mledge/tests/coordinator/support/test_task.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {

inline const absl::Time kStart = absl::FromUnixSeconds(1767225600);

// Drives a run one event at a time and keeps what it asked for last.
class TaskRunTest : public ::testing::Test {
 protected:
  void Begin(const TestTaskOptions& options) {
    TaskPlan plan = ResolveTask(MakeTestTask(options));
    plan.metric_name = "accuracy";
    plan.session.updates_per_fold = 2;
    plan.session.updates_per_checkpoint = 2;
    TaskRecord record;
    record.id = plan.task;
    run_ = std::make_unique<TaskRun>(plan, record);
  }
  void Waits(const std::string& device) {
    run_->DeviceWaits(now_, {.device = DeviceId(device)}, absl::InfinitePast());
  }
  // Devices "0" … "n-1" wait and are taken.
  std::vector<AssignmentRecord> Take(int devices) {
    for (int i = 0; i < devices; ++i) Waits(std::to_string(i));
    effects_ = run_->TakeDevices(now_);
    return effects_.issued;
  }
  UpdateOutcome Arrives(const AssignmentRecord& record) {
    const Update update = MakeTestUpdate(record.id.value(),
                                         record.kind == AssignmentKind::kTrain);
    auto arrival = run_->UpdateArrived(
        now_, record.id, Sha256Of(record.id.value()), 100,
        UpdateView::Of(update, MakeTestContext(record.id.value())));
    EXPECT_THAT(arrival, IsOk());
    effects_ = std::move(arrival->effects);
    return arrival->outcome;
  }
  TaskRun::Publication Publication(int64_t version) {
    TaskRun::Publication publication;
    publication.version.task = TaskId("task");
    publication.version.version = VersionNumber(version);
    publication.version.round = run_->record().round;
    publication.version.published_at = now_;
    return publication;
  }

  absl::Time now_ = kStart;
  std::unique_ptr<TaskRun> run_;
  Effects effects_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_COORDINATOR_TASK_RUN_FIXTURE_H_
