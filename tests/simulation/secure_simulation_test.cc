// Simulations with secure aggregation: every message of the protocol, on the
// virtual clock.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "mledge/tests/simulation/simulation_fixture.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

// Text formats that are merged, the later one winning.
v1::Task SecureTask(const std::string& more = "") {
  v1::Task task = MakeTask(R"pb(
    cohort { size: 10 minimum: 6 }
    secure_aggregation { mode: ON dropout_fraction: 0.3 }
    stop { rounds: 4 }
  )pb");
  v1::Task overrides;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(more, &overrides));
  task.MergeFrom(overrides);
  EXPECT_THAT(ValidateTask(&task), IsOk());
  return task;
}

v1::Task PlainTask() {
  return MakeTask("cohort { size: 10 minimum: 6 } stop { rounds: 4 }");
}

float LargestDifference(const ParameterVector& a, const ParameterVector& b) {
  float largest = 0;
  for (size_t i = 0; i < a.values().size(); ++i) {
    largest = std::max(largest, std::abs(a.values()[i] - b.values()[i]));
  }
  return largest;
}

TEST(SecureSimulationTest, GivesThePlainModelButForRounding) {
  const auto secure = Simulate(MakeOptions(SecureTask()));
  const auto plain = Simulate(MakeOptions(PlainTask()));
  ASSERT_THAT(secure, IsOk());
  ASSERT_THAT(plain, IsOk());
  EXPECT_EQ(secure->state, v1::COMPLETED) << secure->reason;
  ASSERT_THAT(secure->rounds, SizeIs(4));
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(secure->rounds[i].devices, 10);
    EXPECT_EQ(secure->rounds[i].examples, plain->rounds[i].examples);
    EXPECT_NEAR(*secure->rounds[i].training_loss,
                *plain->rounds[i].training_loss, 0.05);
    EXPECT_TRUE(secure->rounds[i].evaluation_loss.has_value());
  }
  EXPECT_NE(secure->parameters_sha256, plain->parameters_sha256);
  EXPECT_LT(LargestDifference(secure->parameters, plain->parameters), 0.01);
}

TEST(SecureSimulationTest, SameSeedGivesTheSameBits) {
  const auto once = Simulate(MakeOptions(SecureTask()));
  Simulator::Options on_the_wire = MakeOptions(SecureTask());
  on_the_wire.wire = true;
  on_the_wire.workers = 3;
  const auto again = Simulate(std::move(on_the_wire));
  ASSERT_THAT(once, IsOk());
  ASSERT_THAT(again, IsOk());
  ExpectSameRun(*once, *again);

  v1::Task other = SecureTask();
  other.set_seed(4);
  const auto different = Simulate(MakeOptions(other));
  ASSERT_THAT(different, IsOk());
  EXPECT_NE(once->parameters_sha256, different->parameters_sha256);
}

// Devices vanish when they should share keys, send their masked input, sign or
// unmask. Within the task's fraction the sum is that of the others; beyond it
// the round goes on with those who are left.
TEST(SecureSimulationTest, DevicesThatVanishInSessionsCostNoRound) {
  const auto result = Simulate(MakeOptions(SecureTask(
      "simulation { device_model { session_dropout_probability: 0.15 } }")));
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->state, v1::COMPLETED) << result->reason;
  ASSERT_THAT(result->rounds, SizeIs(4));
  EXPECT_GT(result->vanished_devices, 0);
  int64_t counted = 0;
  for (const RoundMetrics& round : result->rounds) {
    EXPECT_GE(round.devices, 4);
    counted += round.devices;
  }
  EXPECT_LT(counted, 40);
  const auto again = Simulate(MakeOptions(SecureTask(
      "simulation { device_model { session_dropout_probability: 0.15 } }")));
  ASSERT_THAT(again, IsOk());
  ExpectSameRun(*result, *again);
}

TEST(SecureSimulationTest, LargeCohortsAreDividedIntoGroups) {
  const auto result = Simulate(
      MakeOptions(SecureTask("cohort { size: 18 minimum: 12 minimum_waiting: "
                             "18 } secure_aggregation { group_size: 9 }")));
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->state, v1::COMPLETED) << result->reason;
  for (const RoundMetrics& round : result->rounds) {
    EXPECT_EQ(round.devices, 18);
  }
}

TEST(SecureSimulationTest, InfeasibleParametersAreRefusedAtOnce) {
  EXPECT_THAT(
      Simulate(MakeOptions(SecureTask("secure_aggregation { corrupt_fraction: "
                                      "0.4 dropout_fraction: 0.4 }"))),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               HasSubstr("secure_aggregation")));
  EXPECT_THAT(Simulate(MakeOptions(
                  SecureTask("aggregation { weight_bound: 100000000 }"))),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("Lower aggregation.weight_bound")));
}

// Every device's numbers go through a sum: it is the one of the plain run.
TEST(SecureSimulationTest, DevicesEvaluateInsideSums) {
  const std::string on_devices =
      " evaluation { where: DEVICES devices: 8 } cohort { minimum_waiting: 20 "
      "}";
  v1::Task plain_task = MakeTask(
      "cohort { size: 10 minimum: 6 minimum_waiting: 20 } stop { rounds: 4 } "
      "evaluation { where: DEVICES devices: 8 }");
  const auto secure = Simulate(MakeOptions(SecureTask(on_devices)));
  const auto plain = Simulate(MakeOptions(plain_task));
  ASSERT_THAT(secure, IsOk());
  ASSERT_THAT(plain, IsOk());
  EXPECT_EQ(secure->state, v1::COMPLETED) << secure->reason;
  ASSERT_THAT(secure->rounds, SizeIs(4));
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_FALSE(secure->rounds[i].evaluation_skipped);
    ASSERT_TRUE(secure->rounds[i].evaluation_loss.has_value());
    ASSERT_TRUE(plain->rounds[i].evaluation_loss.has_value());
    EXPECT_NEAR(*secure->rounds[i].evaluation_loss,
                *plain->rounds[i].evaluation_loss, 0.05);
    EXPECT_NEAR(*secure->rounds[i].evaluation_metric,
                *plain->rounds[i].evaluation_metric, 0.05);
  }
}

TEST(SecureSimulationTest, EvaluationsThatLoseTooManyAreSkippedAndTheTaskEnds) {
  const auto result = Simulate(MakeOptions(SecureTask(
      "evaluation { where: DEVICES devices: 8 deadline { seconds: 60 } } "
      "simulation { device_model { session_dropout_probability: 0.6 } }")));
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->state, v1::COMPLETED) << result->reason;
  int skipped = 0;
  for (const RoundMetrics& round : result->rounds) {
    skipped += round.evaluation_skipped ? 1 : 0;
    EXPECT_NE(round.evaluation_skipped, round.evaluation_loss.has_value());
  }
  EXPECT_GT(skipped, 0);
}

}  // namespace
}  // namespace mledge
