// The coordinator on a pool, called by many threads at once, as gRPC does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "mledge/coordinator/memory_storage.h"
#include "mledge/core/executor.h"
#include "mledge/tests/coordinator/support/test_task.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1767225600);

class CoordinatorThreadsTest : public ::testing::Test {
 protected:
  CoordinatorThreadsTest() {
    coordinator_ = Coordinator::Create(
                       {.updates_per_checkpoint = 2, .updates_per_fold = 1},
                       {.storage = &storage_,
                        .pool = &pool_,
                        .sign_version =
                            [](const v1::VersionStatement&) {
                              return absl::StatusOr<v1::SignedMessage>(
                                  v1::SignedMessage());
                            },
                        .wake_at = [](absl::Time) {}},
                       kNow)
                       .value();
  }

  // A device's life: work until the tasks have ended.
  void Live(const std::string& name, Peer::Role role) {
    const Peer peer{DeviceId(name), role};
    v1::CheckInRequest request;
    request.set_protocol_version(1);
    while (!ended_) {
      auto answer =
          std::make_shared<std::promise<absl::StatusOr<v1::CheckInResponse>>>();
      coordinator_->CheckIn(
          kNow, peer, request, kNow,
          [answer](absl::StatusOr<v1::CheckInResponse> response) {
            answer->set_value(std::move(response));
          });
      const auto response = answer->get_future().get();
      ASSERT_THAT(response, IsOk());
      if (!response->has_assignment()) {
        std::this_thread::yield();
        continue;
      }
      const v1::Assignment& assignment = response->assignment();
      const std::string file =
          MakeTestUpdateFile(assignment.assignment_id(),
                             assignment.kind() == v1::Assignment::TRAIN);
      const v1::UploadHeader header =
          MakeTestUploadHeader(assignment.assignment_id(), file);
      auto start = coordinator_->BeginUpload(kNow, peer, header);
      ASSERT_THAT(start, IsOk());
      if (start->result.has_value()) continue;
      ASSERT_THAT(
          start->writer->Append(
              {reinterpret_cast<const uint8_t*>(file.data()), file.size()}),
          IsOk());
      std::promise<absl::StatusOr<v1::UploadResult>> uploaded;
      coordinator_->FinishUpload(
          kNow, peer, header, std::move(start->writer),
          [&uploaded](absl::StatusOr<v1::UploadResult> result) {
            uploaded.set_value(std::move(result));
          });
      ASSERT_THAT(uploaded.get_future().get(), IsOk());
    }
  }

  MemoryStorage storage_;
  ThreadPool pool_{4};
  std::unique_ptr<Coordinator> coordinator_;
  std::atomic<bool> ended_ = false;
};

TEST_F(CoordinatorThreadsTest, TwoTasksRunToTheirEndAndCountEveryUpdateOnce) {
  std::atomic<int> tasks_ended = 0;
  std::vector<std::unique_ptr<Coordinator::Subscription>> watchers;
  std::map<std::string, std::vector<int64_t>> updates;
  for (const char* name : {"x", "y"}) {
    std::promise<absl::Status> submitted;
    coordinator_->SubmitTask(
        kNow,
        MakeSubmission(MakeTestTask({.name = name,
                                     .size = 3,
                                     .over_selection = 1.4,
                                     .rounds = 10,
                                     .evaluate_every = 2})),
        [&](absl::StatusOr<TaskId> id) { submitted.set_value(id.status()); });
    ASSERT_THAT(submitted.get_future().get(), IsOk());
    std::vector<int64_t>& counts = updates[name];
    watchers.push_back(
        coordinator_
            ->Watch(TaskId(name),
                    [&](const v1::TaskEvent& event) {
                      if (event.has_round_completed()) {
                        counts.push_back(event.round_completed().updates());
                      }
                      if (event.has_task_ended() && ++tasks_ended == 2) {
                        ended_ = true;
                      }
                    })
            .value());
  }
  std::vector<std::thread> devices;
  for (int i = 0; i < 8; ++i) {
    devices.emplace_back(
        [this, i] { Live(std::to_string(i), Peer::Role::kDevice); });
  }
  devices.emplace_back([this] { Live("e", Peer::Role::kEvaluator); });
  for (std::thread& device : devices) device.join();
  coordinator_->Shutdown(kNow);
  for (const auto& [name, counts] : updates) {
    EXPECT_EQ(counts, std::vector<int64_t>(10, 3)) << name;
    const auto task = coordinator_->GetTask(TaskId(name));
    EXPECT_EQ(task->summary().state(), v1::COMPLETED);
    EXPECT_EQ(task->summary().version(), 10);
    EXPECT_TRUE(task->summary().has_metric());
  }
  EXPECT_EQ(storage_.spooled_updates(), 0u);
}

}  // namespace
}  // namespace mledge
