#ifndef MLEDGE_TESTS_COORDINATOR_SUPPORT_PRIVATE_FLEET_H_
#define MLEDGE_TESTS_COORDINATOR_SUPPORT_PRIVATE_FLEET_H_

#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mledge/tests/coordinator/support/coordinator_harness.h"
#include "mledge/tests/coordinator/support/private_task.h"

// A harness with one private task, and devices "0", "1", … that follow it.

namespace mledge {

class PrivateFleet {
 public:
  PrivateFleet(const TestTaskOptions& task_options,
               const PrivateTaskTestOptions& privacy, int devices)
      : task(MakePrivateTask(task_options, privacy)), devices_(devices) {}

  absl::StatusOr<TaskId> Submit() {
    absl::StatusOr<TaskId> result = absl::UnknownError("no answer");
    harness.coordinator->SubmitTask(
        harness.now, MakeSubmission(task),
        [&](absl::StatusOr<TaskId> id) { result = id; });
    return result;
  }

  // All devices check in; those that are drawn upload what they should, at most
  // so many of them. Returns how many did, and notes at which step.
  int DoRound(int most = std::numeric_limits<int>::max()) {
    std::map<std::string, std::shared_ptr<CoordinatorHarness::Call>> calls;
    for (int i = 0; i < devices_; ++i) {
      const std::string device = std::to_string(i);
      calls[device] = harness.CheckIn(device);
    }
    int drawn = 0;
    for (const auto& [device, call] : calls) {
      if (!call->has_assignment() || drawn == most) continue;
      ++drawn;
      const absl::StatusOr<v1::UploadResult> result =
          Upload(device, call->assignment());
      if (result.ok() && result->outcome() == v1::UploadResult::ACKNOWLEDGED) {
        steps[device].push_back(Step(call->assignment()));
      }
    }
    return drawn;
  }

  absl::StatusOr<v1::UploadResult> Upload(const std::string& device,
                                          const v1::Assignment& assignment) {
    // What a device has seen it shows from then on.
    harness.ledger_heads[device] = assignment.ledger().head();
    return harness.UploadFile(
        device, assignment.assignment_id(),
        MakePrivateTestUpdateFile(task, assignment.assignment_id()));
  }
  static int64_t Step(const v1::Assignment& assignment) {
    v1::VersionStatement statement;
    statement.ParseFromString(assignment.version_statement().payload());
    return statement.version();
  }

  v1::GetPrivacyLedgerResponse Ledger() {
    return harness.coordinator->GetPrivacyLedger(TaskId("task")).value();
  }
  // Steps that are charged, in the order of the entries on the disk.
  std::vector<int64_t> ChargedSteps() {
    std::vector<int64_t> charged;
    const StoredState state = harness.memory.Load().value();
    for (const LedgerRecord& record : state.ledger) {
      v1::LedgerEntry entry;
      entry.ParseFromString(record.entry.entry);
      if (entry.has_charge()) charged.push_back(entry.charge().step());
    }
    return charged;
  }
  int64_t Charges() { return static_cast<int64_t>(ChargedSteps().size()); }

  CoordinatorHarness harness;
  const v1::Task task;
  // At which steps each device's update was acknowledged.
  std::map<std::string, std::vector<int64_t>> steps;

 private:
  const int devices_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_COORDINATOR_SUPPORT_PRIVATE_FLEET_H_
