// The coordinator dies, the disk is full: no acknowledged update is lost or
// counted twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "mledge/aggregation/server_optimizer.h"
#include "mledge/core/strings.h"
#include "mledge/tests/coordinator/support/coordinator_harness.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

constexpr auto kEvaluator = Peer::Role::kEvaluator;

// Devices that never give up, each doing one thing at a time, against a
// coordinator that dies now and then.
class Fleet {
 public:
  Fleet(CoordinatorHarness& harness, int devices) : harness_(harness) {
    for (int i = 0; i < devices; ++i) {
      devices_.push_back({.name = StrCat("device-", i)});
    }
    devices_.push_back({.name = "evaluator", .role = kEvaluator});
  }

  // The process that died is started again; its last answers never left.
  void RestartIfCrashed() {
    if (!harness_.storage.crashed()) return;
    ++crashes;
    harness_.coordinator.reset();
    harness_.storage.Restart();
    harness_.Start();
  }

  size_t size() const { return devices_.size(); }

  // The device's next step: check in, or upload what it holds.
  void Step(size_t index) {
    Device& device = devices_[index];
    if (!device.assignment.has_value()) {
      const auto call =
          harness_.CheckIn(device.name, absl::ZeroDuration(), device.role);
      if (!harness_.storage.crashed() && call->has_assignment()) {
        device.assignment = call->assignment();
        handed_out.insert(call->assignment().assignment_id());
      }
    } else {
      const auto result =
          harness_.Upload(device.name, *device.assignment, device.role);
      if (harness_.storage.crashed()) return;
      if (!result.ok()) {
        EXPECT_TRUE(absl::IsNotFound(result.status())) << result.status();
        device.assignment.reset();
        return;
      }
      if (result->outcome() == v1::UploadResult::ACKNOWLEDGED) {
        acknowledged.insert(device.assignment->assignment_id());
      }
      device.assignment.reset();
    }
    RestartIfCrashed();
  }
  // Begins an upload and vanishes in the middle of it.
  void UploadHalf(size_t index) {
    Device& device = devices_[index];
    if (!device.assignment.has_value()) return;
    const std::string id = device.assignment->assignment_id();
    const std::string file = MakeTestUpdateFile(
        id, device.assignment->kind() == v1::Assignment::TRAIN);
    const v1::UploadHeader header = MakeTestUploadHeader(id, file);
    auto start = harness_.coordinator->BeginUpload(
        harness_.now, {DeviceId(device.name), device.role}, header);
    if (!start.ok() || start->writer == nullptr) return;
    const uint64_t offset = start->writer->offset();
    const std::string part = file.substr(offset, (file.size() - offset) / 2);
    start->writer
        ->Append({reinterpret_cast<const uint8_t*>(part.data()), part.size()})
        .IgnoreError();
  }
  void Report(size_t index) {
    Device& device = devices_[index];
    if (!device.assignment.has_value()) return;
    harness_.Report(device.name, *device.assignment, device.role).IgnoreError();
    device.assignment.reset();
  }

  std::set<std::string> handed_out;
  std::set<std::string> acknowledged;  // that a device was told of
  int crashes = 0;

 private:
  struct Device {
    std::string name;
    Peer::Role role = Peer::Role::kDevice;
    std::optional<v1::Assignment> assignment;
  };
  CoordinatorHarness& harness_;
  std::vector<Device> devices_;
};

bool Ended(CoordinatorHarness& harness) {
  const auto task = harness.coordinator->GetTask(TaskId("task"));
  return task.ok() && task->summary().state() != v1::RUNNING;
}

// Forms every version anew from what was acknowledged, and compares.
void ExpectEachAcknowledgedUpdateCountsOnce(CoordinatorHarness& harness,
                                            const Fleet& fleet,
                                            const TestTaskOptions& options) {
  std::map<int64_t, std::vector<std::string>> by_round;
  for (const std::string& id : fleet.handed_out) {
    const auto record = harness.memory.FindAssignment(AssignmentId(id));
    ASSERT_THAT(record, IsOk());
    if (record->state == AssignmentState::kAcknowledged) {
      if (record->kind == AssignmentKind::kTrain) {
        by_round[record->round.value()].push_back(id);
      }
    } else {
      EXPECT_FALSE(fleet.acknowledged.contains(id))
          << "acknowledged to the device and lost: " << id;
    }
  }
  const ModelPackage package = MakeCoordinatorTestPackage();
  ParameterVector parameters = package.initial_parameters;
  auto optimizer =
      ServerOptimizer::Create(ServerSgdOptions{.momentum = options.momentum},
                              package.layout)
          .value();
  std::map<int64_t, VersionRecord> versions;
  const StoredState stored = harness.memory.Load().value();
  for (const VersionRecord& version : stored.versions) {
    versions[version.version.value()] = version;
  }
  ASSERT_EQ(versions.size(), static_cast<size_t>(options.rounds) + 1);
  for (int64_t v = 1; v <= options.rounds; ++v) {
    auto sum = Aggregator::Create(
                   TrainingAggregationSpec(package.layout->shared_size(), 16,
                                           1000, false, options.size))
                   .value();
    for (const std::string& id : by_round[versions[v].round.value()]) {
      const Update update = MakeTestUpdate(id, true);
      const UpdateView view = UpdateView::Of(update, MakeTestContext(id));
      const UpdateView* const views[] = {&view};
      ASSERT_THAT(sum->Fold(views), IsOk());
    }
    ASSERT_THAT(optimizer->Apply(sum->sum(), &parameters), IsOk());
    EXPECT_EQ(versions[v].parameters, parameters.ContentHash())
        << "version " << v << " of round " << versions[v].round;
  }
  int64_t sequence = 0;
  int64_t completed = 0;
  for (const v1::TaskEvent& event : harness.Events()) {
    EXPECT_EQ(event.sequence(), ++sequence);
    if (event.has_round_completed()) {
      EXPECT_EQ(event.round_completed().version(), ++completed);
      EXPECT_EQ(static_cast<size_t>(event.round_completed().updates()),
                by_round[event.round()].size());
    }
  }
  EXPECT_EQ(completed, options.rounds);
  EXPECT_EQ(harness.memory.spooled_updates(), 0u);
}

// Everybody takes part, one thing after the other; returns the parameters.
std::string RunToTheEnd(CoordinatorHarness& harness, Fleet& fleet,
                        const TestTaskOptions& options) {
  for (int turn = 0; turn < 1000; ++turn) {
    harness.Submit(options).IgnoreError();
    fleet.RestartIfCrashed();
    if (Ended(harness)) return harness.Parameters();
    for (size_t i = 0; i < fleet.size(); ++i) fleet.Step(i);
    harness.Advance(absl::Seconds(2));
    fleet.RestartIfCrashed();
  }
  ADD_FAILURE() << "the task did not end";
  return "";
}

// A crash before or after each single operation on the storage: the same
// participation gives the same parameters as without.
TEST(CoordinatorRecoveryTest, CrashAtEveryOperationChangesNothing) {
  const TestTaskOptions options{
      .size = 6, .rounds = 3, .evaluate_every = 1, .momentum = 0.9};
  const Coordinator::Options small{.updates_per_checkpoint = 2,
                                   .updates_per_fold = 1};
  std::string expected;
  int64_t operations = 0;
  {
    CoordinatorHarness harness(small);
    Fleet fleet(harness, 6);
    expected = RunToTheEnd(harness, fleet, options);
    operations = harness.storage.operations();
    ExpectEachAcknowledgedUpdateCountsOnce(harness, fleet, options);
  }
  ASSERT_GT(operations, 60);
  for (int64_t n = 0; n < operations; ++n) {
    for (const bool happens : {false, true}) {
      SCOPED_TRACE(
          StrCat("crash at operation ", n,
                 happens ? ", which happens" : ", which does not happen"));
      CoordinatorHarness harness(small);
      Fleet fleet(harness, 6);
      harness.storage.CrashAfter(n, happens);
      EXPECT_EQ(RunToTheEnd(harness, fleet, options), expected);
      EXPECT_EQ(fleet.crashes, 1);
      ExpectEachAcknowledgedUpdateCountsOnce(harness, fleet, options);
      if (HasFailure()) return;
    }
  }
}

// Devices come, go, give up and stop half-way in a random order while the
// coordinator dies again and again.
TEST(CoordinatorRecoveryTest, RandomSchedulesWithCrashes) {
  const uint64_t base = TestSeed(1);
  int crashes = 0;
  for (uint64_t seed = base; seed < base + 60; ++seed) {
    const auto trace = TraceSeed(seed);
    TrainingRandom random({.task_seed = seed, .purpose = "schedule"});
    const TestTaskOptions options{
        .size = 2 + static_cast<int64_t>(random.UniformBelow(4)),
        .minimum = 1 + static_cast<int64_t>(random.UniformBelow(2)),
        .over_selection = 1.0 + random.UniformDouble(),
        .rounds = 4,
        .deadline_in_seconds = 60,
        .minimum_waiting = 2,
        .evaluate_every = static_cast<int64_t>(random.UniformBelow(3)),
        .evaluation_devices = static_cast<int64_t>(random.UniformBelow(3)),
        .momentum = random.UniformBelow(2) == 0 ? 0.0 : 0.5};
    CoordinatorHarness harness(
        {.updates_per_checkpoint =
             1 + static_cast<int64_t>(random.UniformBelow(4)),
         .updates_per_fold = 1 + static_cast<int64_t>(random.UniformBelow(3))});
    Fleet fleet(harness, 10);
    ASSERT_THAT(harness.Submit(options), IsOk());
    int steps = 0;
    for (; steps < 20000 && !Ended(harness); ++steps) {
      const size_t device = random.UniformBelow(fleet.size());
      switch (random.UniformBelow(16)) {
        case 0:
          harness.Advance(absl::Seconds(1 + random.UniformBelow(20)));
          break;
        case 1:
          harness.storage.CrashAfter(
              static_cast<int64_t>(random.UniformBelow(30)),
              random.UniformBelow(2) == 0);
          break;
        case 2:
          fleet.UploadHalf(device);
          break;
        case 3:
          fleet.Report(device);
          break;
        default:
          fleet.Step(device);
      }
      fleet.RestartIfCrashed();
    }
    ASSERT_TRUE(Ended(harness)) << steps << " steps";
    ExpectEachAcknowledgedUpdateCountsOnce(harness, fleet, options);
    crashes += fleet.crashes;
    if (HasFailure()) return;
  }
  EXPECT_GT(crashes, 60);
}

TEST(CoordinatorRecoveryTest, IssuedAssignmentsStayValidUntilTheyExpire) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 2, .rounds = 1}), IsOk());
  const auto a = harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  ASSERT_THAT(harness.Upload("a", a->assignment()), IsOk());
  harness.Crash();
  const auto again = harness.CheckIn("b");
  ASSERT_TRUE(again->has_assignment());
  EXPECT_EQ(again->assignment().SerializeAsString(),
            b->assignment().SerializeAsString());
  ASSERT_THAT(harness.Upload("b", b->assignment()), IsOk());
  EXPECT_EQ(harness.Summary().state(), v1::COMPLETED);
}

TEST(CoordinatorRecoveryTest, DeadlineThatPassedMeanwhileIsSeenAtTheStart) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 2, .minimum = 1, .rounds = 1}), IsOk());
  const auto a = harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  ASSERT_THAT(harness.Upload("a", a->assignment()), IsOk());
  harness.coordinator.reset();
  harness.now += absl::Hours(1);
  harness.Start();
  EXPECT_EQ(harness.Summary().state(), v1::COMPLETED);
  EXPECT_EQ(harness.Upload("b", b->assignment())->outcome(),
            v1::UploadResult::TOO_LATE);
}

TEST(CoordinatorRecoveryTest, EvaluationGoesOnAfterARestart) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1,
                              .rounds = 1,
                              .evaluate_every = 1,
                              .evaluation_devices = 2}),
              IsOk());
  ASSERT_THAT(harness.Upload("a", harness.CheckIn("a")->assignment()), IsOk());
  const auto a = harness.CheckIn("a");
  ASSERT_THAT(harness.Upload("a", a->assignment()), IsOk());
  harness.Crash();
  const auto b = harness.CheckIn("b");
  ASSERT_TRUE(b->has_assignment());
  ASSERT_THAT(harness.Upload("b", b->assignment()), IsOk());
  EXPECT_EQ(harness.Summary().state(), v1::COMPLETED);
  int64_t examples = 0;
  for (const auto& call : {a, b}) {
    examples +=
        MakeTestUpdate(call->assignment().assignment_id(), false).weight;
  }
  bool evaluated = false;
  for (const v1::TaskEvent& event : harness.Events()) {
    if (!event.has_evaluated()) continue;
    evaluated = true;
    EXPECT_EQ(event.evaluated().examples(), examples);
  }
  EXPECT_TRUE(evaluated);
}

// The slot that a restart went on from is the good one: the next checkpoint
// goes into the other.
TEST(CoordinatorRecoveryTest, CheckpointsAlternateAcrossARestart) {
  CoordinatorHarness harness(
      {.updates_per_checkpoint = 1, .updates_per_fold = 1});
  ASSERT_THAT(harness.Submit({.size = 4}), IsOk());
  std::map<std::string, std::shared_ptr<CoordinatorHarness::Call>> calls;
  for (const char* name : {"a", "b", "c", "d"}) {
    calls[name] = harness.CheckIn(name);
  }
  ASSERT_THAT(harness.Upload("a", calls["a"]->assignment()), IsOk());
  ASSERT_THAT(harness.Upload("b", calls["b"]->assignment()), IsOk());
  harness.Crash();
  ASSERT_THAT(harness.Upload("c", calls["c"]->assignment()), IsOk());
  std::set<size_t> held;
  const StoredState stored = harness.memory.Load().value();
  for (const CheckpointRecord& slot : stored.checkpoints) {
    held.insert(slot.folded.size());
  }
  EXPECT_EQ(held, (std::set<size_t>{2, 3}));
}

// An evaluation may go on beside several rounds; what was acknowledged in it
// counts also when its round lies further back than the last.
TEST(CoordinatorRecoveryTest, EvaluationOfAnOlderVersionKeepsItsUpdates) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1,
                              .rounds = 5,
                              .evaluate_every = 1,
                              .evaluation_devices = 2}),
              IsOk());
  ASSERT_THAT(harness.Upload("a", harness.CheckIn("a")->assignment()), IsOk());
  const auto b = harness.CheckIn("b");  // trains round 2
  const auto a = harness.CheckIn("a");
  const auto c = harness.CheckIn("c");
  for (const auto& call : {a, c}) {
    ASSERT_EQ(call->assignment().kind(), v1::Assignment::EVALUATE);
    ASSERT_EQ(call->assignment().round(), 1);
  }
  ASSERT_THAT(harness.Upload("a", a->assignment()), IsOk());
  ASSERT_THAT(harness.Upload("b", b->assignment()), IsOk());
  ASSERT_THAT(harness.Upload("b", harness.CheckIn("b")->assignment()), IsOk());
  ASSERT_EQ(harness.Summary().version(), 3);
  harness.Crash();
  ASSERT_THAT(harness.Upload("c", c->assignment()), IsOk());
  int64_t examples = 0;
  for (const auto& call : {a, c}) {
    examples +=
        MakeTestUpdate(call->assignment().assignment_id(), false).weight;
  }
  bool evaluated = false;
  for (const v1::TaskEvent& event : harness.Events()) {
    if (!event.has_evaluated() || event.evaluated().version() != 1) continue;
    evaluated = true;
    EXPECT_EQ(event.evaluated().examples(), examples);
  }
  EXPECT_TRUE(evaluated);
}

// The device was told that it does not count yet; then the process dies.
TEST(CoordinatorRecoveryTest, CrashWhileFullForgetsOnlyWhatNobodyWasPromised) {
  const TestTaskOptions options{.size = 2, .rounds = 1};
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit(options), IsOk());
  const auto a = harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  ASSERT_THAT(harness.Upload("b", b->assignment()), IsOk());
  harness.storage.fail = [](const std::string& operation) {
    return operation == "Commit"
               ? absl::ResourceExhaustedError("no space left on device")
               : absl::OkStatus();
  };
  EXPECT_FALSE(harness.Upload("a", a->assignment()).ok());
  harness.coordinator.reset();
  harness.storage.fail = nullptr;
  harness.Start();
  EXPECT_EQ(harness.Summary().version(), 0);
  EXPECT_EQ(harness.Upload("a", a->assignment())->outcome(),
            v1::UploadResult::ACKNOWLEDGED);
  EXPECT_EQ(harness.Summary().version(), 1);
}

TEST(CoordinatorRecoveryTest, PublicationWaitsForRoomAndStepsOnce) {
  const TestTaskOptions options{.size = 2, .rounds = 1};
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit(options), IsOk());
  const auto a = harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  harness.storage.fail = [](const std::string& operation) {
    return operation == "PutBlob"
               ? absl::ResourceExhaustedError("no space left on device")
               : absl::OkStatus();
  };
  ASSERT_THAT(harness.Upload("a", a->assignment()), IsOk());
  ASSERT_THAT(harness.Upload("b", b->assignment()), IsOk());
  harness.Advance(absl::Seconds(5));
  EXPECT_EQ(harness.Summary().version(), 0);
  harness.storage.fail = nullptr;
  harness.Advance(absl::Seconds(2));
  EXPECT_EQ(harness.Summary().state(), v1::COMPLETED);
  Fleet fleet(harness, 0);
  for (const auto& call : {a, b}) {
    fleet.handed_out.insert(call->assignment().assignment_id());
  }
  ExpectEachAcknowledgedUpdateCountsOnce(harness, fleet, options);
}

}  // namespace
}  // namespace mledge
