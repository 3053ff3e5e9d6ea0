#include "mledge/simulation/simulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "mledge/client/memory_store.h"
#include "mledge/simulation/simulator.h"
#include "mledge/tests/simulation/simulation_fixture.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::Each;
using ::testing::Field;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(SimulatorTest, TrainsToTheEnd) {
  const auto result = Simulate(MakeOptions(MakeTask()));
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->state, v1::COMPLETED) << result->reason;
  ASSERT_THAT(result->rounds, SizeIs(6));
  for (int64_t i = 0; i < 6; ++i) {
    const RoundMetrics& round = result->rounds[i];
    EXPECT_EQ(round.round, i + 1);
    EXPECT_EQ(round.devices, 5);
    EXPECT_EQ(round.failures, 0);
    EXPECT_EQ(round.examples, 50);
    EXPECT_TRUE(round.evaluation_loss.has_value());
    EXPECT_GT(round.bytes_up, 5 * 300 * 4u);
    EXPECT_GT(round.bytes_down, 5 * 300 * 4u);
  }
  EXPECT_LT(*result->rounds.back().evaluation_loss,
            0.5 * *result->rounds.front().evaluation_loss);
  EXPECT_EQ(result->parameters_sha256, result->parameters.ContentHash());
  EXPECT_EQ(result->version, 6);
}

TEST(SimulatorTest, WorkersDoNotChangeTheResult) {
  const v1::Task task = MakeTask(
      "simulation { device_model { spread: 0.7 dropout_probability: 0.1 } }"
      "cohort { over_selection: 1.6 minimum: 3 }");
  Simulator::Options one = MakeOptions(task);
  Simulator::Options four = MakeOptions(task);
  four.workers = 4;
  const auto first = Simulate(std::move(one));
  const auto second = Simulate(std::move(four));
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  ExpectSameRun(*first, *second);
}

TEST(SimulatorTest, RealSerializationDoesNotChangeTheResult) {
  const v1::Task task = MakeTask(
      "simulation { device_model { spread: 0.7 dropout_probability: 0.1 } }"
      "cohort { over_selection: 1.6 minimum: 3 }");
  Simulator::Options plain = MakeOptions(task);
  Simulator::Options wire = MakeOptions(task);
  wire.wire = true;
  const auto first = Simulate(std::move(plain));
  const auto second = Simulate(std::move(wire));
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(first->parameters_sha256, second->parameters_sha256);
  ASSERT_EQ(first->rounds.size(), second->rounds.size());
  for (size_t i = 0; i < first->rounds.size(); ++i) {
    EXPECT_EQ(first->rounds[i].training_loss, second->rounds[i].training_loss);
    EXPECT_EQ(first->rounds[i].evaluation_loss,
              second->rounds[i].evaluation_loss);
  }
}

TEST(SimulatorTest, RunsAreRepeatedBitForBit) {
  const auto first = Simulate(MakeOptions(MakeTask()));
  const auto second = Simulate(MakeOptions(MakeTask()));
  const auto other = Simulate(MakeOptions(MakeTask("seed: 4")));
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  ASSERT_THAT(other, IsOk());
  ExpectSameRun(*first, *second);
  EXPECT_NE(first->parameters_sha256, other->parameters_sha256);
}

// The order in which workers happen to finish must not matter: here every step
// takes another device another real time.
TEST(SimulatorTest, RealSpeedDoesNotChangeTheResult) {
  std::atomic<uint64_t> calls{0};
  FakeTrainerFactory uneven([&](const TrainingPlan& plan, int64_t) {
    const uint64_t spins = (calls++ * 2654435761u) % 20000;
    for (std::atomic<uint64_t> i = 0; i < spins; ++i) {
    }
    return absl::OkStatus();
  });
  Simulator::Options options = MakeOptions(MakeTask());
  options.workers = 3;
  const auto first = Simulate(std::move(options), &uneven);
  const auto second = Simulate(MakeOptions(MakeTask()));
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  ExpectSameRun(*first, *second);
}

TEST(SimulatorTest, ChargesTimeForTrainingAndTransfers) {
  const v1::Task task = MakeTask(
      "stop { rounds: 1 } evaluation { every: 0 }"
      "simulation { device_model { seconds_per_example: 2 "
      "download_bytes_per_second: 1e9 upload_bytes_per_second: 1e9 } }"
      "cohort { deadline { seconds: 600 } }");
  Simulator::Options options = MakeOptions(task);
  options.test_data = nullptr;
  const auto fast_net = Simulate(std::move(options));
  ASSERT_THAT(fast_net, IsOk());
  // 10 examples, 2 epochs, 2 s each.
  EXPECT_NEAR(fast_net->rounds[0].virtual_seconds, 40, 0.1);

  v1::Task slow = task;
  slow.mutable_simulation()
      ->mutable_device_model()
      ->set_upload_bytes_per_second(100);
  const auto slow_net = Simulate(MakeOptions(slow));
  ASSERT_THAT(slow_net, IsOk());
  // Some 1,400 bytes more at 100 bytes a second.
  EXPECT_GT(slow_net->rounds[0].virtual_seconds, 53);
  EXPECT_LT(slow_net->rounds[0].virtual_seconds, 70);
}

TEST(SimulatorTest, OverSelectionLeavesStragglersBehind) {
  const v1::Task task = MakeTask(
      "cohort { over_selection: 2 } evaluation { every: 0 }"
      "simulation { device_model { spread: 1 } }");
  const auto over = Simulate(MakeOptions(task));
  v1::Task all = task;
  all.mutable_cohort()->set_size(10);
  all.mutable_cohort()->set_minimum(10);
  all.mutable_cohort()->set_over_selection(1);
  const auto waits = Simulate(MakeOptions(all));
  ASSERT_THAT(over, IsOk());
  ASSERT_THAT(waits, IsOk());
  EXPECT_THAT(over->rounds, Each(Field(&RoundMetrics::devices, 5)));
  EXPECT_LT(over->virtual_time, waits->virtual_time);
}

TEST(SimulatorTest, DoesNotComputeWhatWouldBeDropped) {
  std::atomic<int64_t> steps{0};
  FakeTrainerFactory counting([&](const TrainingPlan& plan, int64_t) {
    if (plan.kind == TrainingPlan::Kind::kTrain) ++steps;
    return absl::OkStatus();
  });
  const v1::Task task = MakeTask(
      "cohort { size: 4 minimum: 1 deadline { seconds: 30 } }"
      "evaluation { every: 0 }"
      "simulation { device_model { dropout_probability: 0.5 } }");
  const auto result = Simulate(MakeOptions(task), &counting);
  ASSERT_THAT(result, IsOk());
  EXPECT_GT(result->vanished_devices, 0);
  int64_t counted = 0;
  for (const RoundMetrics& round : result->rounds) {
    counted += round.devices;
    EXPECT_EQ(round.assigned, 4);
  }
  // 10 examples in batches of 4, twice: 6 steps a device that delivered.
  EXPECT_EQ(steps, counted * 6);
}

TEST(SimulatorTest, EvaluatesEverySoManyRoundsAndAfterTheLast) {
  const auto result =
      Simulate(MakeOptions(MakeTask("evaluation { every: 4 }")));
  ASSERT_THAT(result, IsOk());
  std::vector<int64_t> evaluated;
  for (const RoundMetrics& round : result->rounds) {
    if (round.evaluation_metric.has_value()) evaluated.push_back(round.round);
  }
  EXPECT_THAT(evaluated, testing::ElementsAre(4, 6));
}

TEST(SimulatorTest, EvaluatesOnDevices) {
  Simulator::Options options =
      MakeOptions(MakeTask("evaluation { where: DEVICES devices: 3 }"));
  options.test_data = nullptr;
  const auto result = Simulate(std::move(options));
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->state, v1::COMPLETED);
  EXPECT_TRUE(result->rounds.back().evaluation_loss.has_value());
}

TEST(SimulatorTest, StopsWithWhatIsThere) {
  Simulator::Options options = MakeOptions(MakeTask("stop { rounds: 1000 }"));
  int rounds = 0;
  options.on_round = [&](const RoundMetrics&) { ++rounds; };
  options.stop = [&] { return rounds >= 3; };
  const auto result = Simulate(std::move(options));
  ASSERT_THAT(result, IsOk());
  EXPECT_TRUE(result->stopped);
  EXPECT_GE(result->version, 3);
  EXPECT_THAT(result->rounds, SizeIs(testing::Ge(3u)));
}

TEST(SimulatorTest, SaysWhenNoRoundCanSucceed) {
  const auto result = Simulate(MakeOptions(
      MakeTask("cohort { deadline { seconds: 1 } }"
               "simulation { device_model { seconds_per_example: 10 } }")));
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("times in a row")));
}

// A partition by a column decides how many devices there are, which the task
// cannot know.
TEST(SimulatorTest, RefusesCohortLargerThanTheFleet) {
  Simulator::Options options = MakeOptions(MakeTask());
  options.partition = std::make_shared<const Partition>(
      std::vector<std::vector<int64_t>>{{0, 1}, {2, 3}, {4}});
  EXPECT_THAT(Simulate(std::move(options)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the fleet has 3")));
}

TEST(SimulatorTest, RefusesDataThatDoNotFitTheModel) {
  Simulator::Options options = MakeOptions(MakeTask());
  options.package = MakeFakePackage(300, 5);
  EXPECT_THAT(Simulate(std::move(options)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("an example has 4 values")));
  Simulator::Options none = MakeOptions(MakeTask());
  none.training_data = nullptr;
  EXPECT_THAT(
      Simulate(std::move(none)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("training_data")));
}

TEST(SimulatorTest, GoesOnWithoutDevicesWhoseTrainingFails) {
  FakeTrainerFactory failing([](const TrainingPlan& plan, int64_t) {
    return plan.device == "device-003"
               ? absl::OutOfRangeError("the loss became NaN in step 1")
               : absl::OkStatus();
  });
  std::vector<std::string> warnings;
  Simulator::Options options = MakeOptions(
      MakeTask("cohort { size: 20 minimum: 10 deadline { seconds: 60 } }"));
  options.on_warning = [&](const std::string& text) {
    warnings.push_back(text);
  };
  const auto result = Simulate(std::move(options), &failing);
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(result->rounds[0].failures, Gt(0));
  EXPECT_THAT(warnings, testing::Contains(testing::AllOf(
                            HasSubstr("device-003"), HasSubstr("NaN"))));
}

}  // namespace
}  // namespace mledge
