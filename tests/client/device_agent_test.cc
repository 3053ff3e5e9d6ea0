#include "mledge/client/device_agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/time/clock.h"
#include "mledge/client/memory_device_storage.h"
#include "mledge/tests/client/fake_coordinator.h"
#include "mledge/tests/client/session_world.h"
#include "mledge/tests/support/fake_clock.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Looks again and again until something has become true.
template <typename Condition>
bool Eventually(Condition condition) {
  const absl::Time deadline = absl::Now() + absl::Seconds(60);
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

class DeviceAgentTest : public ::testing::Test {
 protected:
  DeviceAgentTest() : examples_(SessionWorld::MakeExamples()) {}

  std::vector<v1::Assignment> Assignments(int rounds) {
    std::vector<v1::Assignment> assignments;
    for (int round = 1; round <= rounds; ++round) {
      assignments.push_back(world_.MakeAssignment(round));
    }
    return assignments;
  }

  // Runs an agent on `storage_` until `done`, then stops it.
  template <typename Condition>
  void RunUntil(FakeCoordinator& coordinator, TrainerFactory& trainers,
                Condition done) {
    FakeConnection connection(&coordinator);
    RunUntil(connection, trainers, done);
  }
  template <typename Condition>
  void RunUntil(FakeConnection& connection, TrainerFactory& trainers,
                Condition done) {
    DeviceAgent::Options options;
    options.session = world_.MakeSessionOptions();
    options.session.backoff = {.minimum = absl::Milliseconds(1),
                               .initial = absl::Milliseconds(5),
                               .maximum = absl::Milliseconds(20)};
    options.trusted = world_.trusted();
    options.training = training_;
    if (secure_ != nullptr) options.session.policy.secure.emplace();
    auto agent =
        DeviceAgent::Create(options, {.connection = &connection,
                                      .storage = &storage_,
                                      .trainers = &trainers,
                                      .examples = examples_.get(),
                                      .secure = secure_.get(),
                                      .clock = &clock_,
                                      .on_notice = [](const Notice&) {}});
    ASSERT_THAT(agent, IsOk());
    absl::Status status;
    std::thread thread([&] { status = (*agent)->Run(); });
    EXPECT_TRUE(Eventually([&] {
      clock_.Advance(absl::Milliseconds(1));
      return done();
    }));
    (*agent)->Stop();
    thread.join();
    EXPECT_THAT(status, IsOk());
    EXPECT_EQ((*agent)->phase(), DeviceSession::Phase::kStopped);
  }

  SessionWorld world_;
  FakeClock clock_;
  MemoryDeviceStorage storage_;
  TrainingWorker::Options training_;
  std::unique_ptr<SecureIdentity> secure_;
  const std::unique_ptr<MemoryStore> examples_;
};

TEST_F(DeviceAgentTest, CarriesOutAssignmentsUntilStopped) {
  const auto assignments = Assignments(3);
  FakeCoordinator coordinator(world_.blobs, assignments);
  FakeTrainerFactory trainers;
  RunUntil(coordinator, trainers,
           [&] { return coordinator.acknowledged().size() == 3; });
  EXPECT_EQ(coordinator.conflicts(), 0);
  EXPECT_EQ(coordinator.fetches(), 3) << "the rest came from the cache";
  // What arrived is an update file with the device's examples in it.
  auto file = UpdateFile::FromBytes(coordinator.acknowledged().at("a2"));
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ((*file)->view().weight, 6);
  EXPECT_EQ((*file)->view().context.assignment_id.value(), "a2");
}

TEST_F(DeviceAgentTest, GoesOnThroughNetworkTrouble) {
  const auto assignments = Assignments(1);
  FakeCoordinator coordinator(world_.blobs, assignments);
  FakeConnection connection(&coordinator);
  connection.BreakNext(5);
  FakeTrainerFactory trainers;
  RunUntil(connection, trainers,
           [&] { return coordinator.acknowledged().size() == 1; });
}

TEST_F(DeviceAgentTest, StoppedInMidTrainingItGoesOnFromTheSnapshot) {
  const auto assignments = Assignments(1);
  FakeCoordinator reference(world_.blobs, assignments);
  {
    FakeTrainerFactory trainers;
    RunUntil(reference, trainers,
             [&] { return reference.acknowledged().size() == 1; });
  }
  FakeCoordinator coordinator(world_.blobs, assignments);
  // Six steps in all; the third waits until the agent is being stopped.
  std::atomic<int> steps = 0;
  std::atomic<bool> reached = false;
  std::atomic<bool> go_on = false;
  training_.slice = absl::ZeroDuration();  // one step a slice
  {
    FakeTrainerFactory trainers([&](const TrainingPlan&, int64_t step) {
      ++steps;
      if (step == 2) {
        reached = true;
        // The agent's Stop is on its way, and the step takes its time.
        Eventually([&] { return go_on.load(); });
      }
      return absl::OkStatus();
    });
    FakeConnection connection(&coordinator);
    std::thread stopper([&] {
      Eventually([&] { return reached.load(); });
      // Stop comes after `done` below has become true.
      absl::Time until = absl::Now() + absl::Milliseconds(50);
      Eventually([&] { return absl::Now() > until; });
      go_on = true;
    });
    RunUntil(connection, trainers, [&] { return reached.load(); });
    stopper.join();
  }
  EXPECT_TRUE(coordinator.acknowledged().empty());
  ASSERT_TRUE((*storage_.LoadSnapshot(AssignmentId("a1"))).has_value());
  std::atomic<int64_t> first_step = -1;
  FakeTrainerFactory trainers([&](const TrainingPlan&, int64_t step) {
    int64_t none = -1;
    first_step.compare_exchange_strong(none, step);
    return absl::OkStatus();
  });
  RunUntil(coordinator, trainers,
           [&] { return coordinator.acknowledged().size() == 1; });
  EXPECT_EQ(first_step, 3);
  EXPECT_EQ(coordinator.acknowledged(), reference.acknowledged())
      << "same bits as without the stop";
}

TEST_F(DeviceAgentTest, ReportsWhatTheTrainerSays) {
  const auto assignments = Assignments(2);
  FakeCoordinator coordinator(world_.blobs, assignments);
  FakeTrainerFactory trainers([](const TrainingPlan& plan, int64_t) {
    return plan.ordinal == 0 ? absl::InvalidArgumentError("example 3 is broken")
                             : absl::OkStatus();
  });
  RunUntil(coordinator, trainers,
           [&] { return coordinator.acknowledged().size() == 1; });
  EXPECT_THAT(coordinator.reports(),
              ElementsAre("training failed: example 3 is broken"));
}

TEST_F(DeviceAgentTest, FullStorageIsReported) {
  const auto assignments = Assignments(1);
  FakeCoordinator coordinator(world_.blobs, assignments);
  storage_.set_capacity(10);
  FakeTrainerFactory trainers;
  RunUntil(coordinator, trainers,
           [&] { return !coordinator.reports().empty(); });
  EXPECT_THAT(coordinator.reports()[0], HasSubstr("full"));
}

TEST_F(DeviceAgentTest, RefusesToBeBuiltWithoutItsParts) {
  EXPECT_THAT(DeviceAgent::Create({}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(DeviceAgentTest, SaysWhenNobodyIsTrusted) {
  FakeCoordinator coordinator(world_.blobs, {});
  FakeConnection connection(&coordinator);
  FakeTrainerFactory trainers;
  DeviceAgent::Options options;
  options.session = world_.MakeSessionOptions();
  options.trusted.root_pem = world_.pki.root_pem();
  EXPECT_THAT(DeviceAgent::Create(options, {.connection = &connection,
                                            .storage = &storage_,
                                            .trainers = &trainers,
                                            .examples = examples_.get()}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("trusted_operators")));
}

TEST_F(DeviceAgentTest, TakesUpdatesToSecureAggregationThroughNetworkTrouble) {
  world_.MakeSecure(20);
  SystemSecretRandom random;
  secure_ = *SecureIdentity::Create(
      world_.pki.Issue(Role::kDevice, "device-1"),
      WitnessKey::Generate(random).public_key().ToHex(), 0);
  const auto assignments = Assignments(1);
  FakeCoordinator coordinator(world_.blobs, assignments);
  FakeConnection connection(&coordinator);
  std::atomic<int> streams = 0;
  std::string joined;
  connection.secure_aggregation = [&](const auto& join, auto on_message,
                                      auto on_closed) {
    if (++streams < 3) {
      on_closed(absl::UnavailableError("broken by the test"));
      return;
    }
    joined = join.assignment_id();
    v1::SecureAggregationResponse response;
    response.mutable_result()->set_outcome(v1::UploadResult::TOO_LATE);
    on_message(response);
    // The real coordinator hands out the next assignment now, if it has one.
    v1::ReportRequest over;
    over.set_assignment_id(joined);
    coordinator.Report(over);
  };
  FakeTrainerFactory trainers;
  RunUntil(connection, trainers, [&] {
    return streams == 3 && !coordinator.reports().empty() &&
           coordinator.check_ins() >= 2;
  });
  EXPECT_EQ(joined, "a1");
  EXPECT_TRUE(coordinator.acknowledged().empty()) << "it left in the clear";
  EXPECT_FALSE(storage_.LoadJournal()->has_value());
}

TEST_F(DeviceAgentTest, WithoutARegistrarReportsWhatToConfigure) {
  world_.MakeSecure(20);
  const auto assignments = Assignments(1);
  FakeCoordinator coordinator(world_.blobs, assignments);
  FakeTrainerFactory trainers;
  RunUntil(coordinator, trainers,
           [&] { return coordinator.reports().size() == 1; });
  EXPECT_THAT(coordinator.reports(), ElementsAre(HasSubstr("registrar")));
}

TEST_F(DeviceAgentTest, UpdateThatWaitsIsReportedWhenTheRegistrarIsGone) {
  world_.MakeSecure(20);
  const auto assignments = Assignments(1);
  FakeCoordinator coordinator(world_.blobs, assignments);
  Update update;
  update.weight = 1;
  const UpdateContext context = {AssignmentId("a1"), Digest()};
  const std::string bytes = *SerializeUpdate(update, context);
  ASSERT_THAT(storage_.SaveAssignment(assignments[0]), IsOk());
  ASSERT_THAT(storage_.SaveUpdate({Sha256Of(bytes), bytes.size()}, context,
                                  update, std::nullopt),
              IsOk());
  FakeTrainerFactory trainers;
  RunUntil(coordinator, trainers,
           [&] { return coordinator.reports().size() == 1; });
  EXPECT_THAT(coordinator.reports(), ElementsAre(HasSubstr("no registrar")));
  EXPECT_TRUE(coordinator.acknowledged().empty());
}

}  // namespace
}  // namespace mledge
