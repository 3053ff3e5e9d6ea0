// Simulations without cryptography give the bits of those with it: who is in
// each sum, how many rounds it takes, when they end and what travels.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "mledge/core/strings.h"
#include "mledge/tests/simulation/simulation_fixture.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;

struct Case {
  std::string name;
  uint64_t seed = 1;
  // Of a device that takes its update to a session.
  double vanishes = 0;
  // Text format, merged over the task below.
  std::string task;
};

void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

constexpr char kTenOfTwenty[] = R"pb(
  cohort { size: 10 minimum: 6 }
  secure_aggregation { mode: ON dropout_fraction: 0.3 }
  simulation { device_model { spread: 0.5 } }
  stop { rounds: 4 }
)pb";

v1::Task TaskOf(const Case& wanted,
                v1::Simulation::SecureAggregationMode mode) {
  v1::Task more;
  for (const std::string& text : {std::string(kTenOfTwenty), wanted.task}) {
    v1::Task overrides;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &overrides))
        << text;
    more.MergeFrom(overrides);
  }
  more.set_seed(wanted.seed);
  more.mutable_simulation()
      ->mutable_device_model()
      ->set_session_dropout_probability(wanted.vanishes);
  more.mutable_simulation()->set_secure_aggregation(mode);
  return MakeTask(more.DebugString());
}

absl::StatusOr<SimulationResult> RunTask(const v1::Task& task, int workers = 1,
                                         bool wire = false) {
  Simulator::Options options = MakeOptions(task);
  options.workers = workers;
  options.wire = wire;
  return Simulate(std::move(options));
}

// As ExpectSameRun, and all else that a run shows.
void ExpectSameBits(const SimulationResult& a, const SimulationResult& b) {
  ExpectSameRun(a, b);
  EXPECT_EQ(a.state, b.state);
  EXPECT_EQ(a.vanished_devices, b.vanished_devices);
  for (size_t i = 0; i < std::min(a.rounds.size(), b.rounds.size()); ++i) {
    SCOPED_TRACE(StrCat("round ", i + 1));
    EXPECT_EQ(a.rounds[i].round, b.rounds[i].round);
    EXPECT_EQ(a.rounds[i].attempts, b.rounds[i].attempts);
    EXPECT_EQ(a.rounds[i].examples, b.rounds[i].examples);
    EXPECT_EQ(a.rounds[i].evaluation_skipped, b.rounds[i].evaluation_skipped);
    EXPECT_EQ(a.rounds[i].assigned, b.rounds[i].assigned);
    EXPECT_EQ(a.rounds[i].bytes_up, b.rounds[i].bytes_up);
    EXPECT_EQ(a.rounds[i].bytes_down, b.rounds[i].bytes_down);
  }
}

class ArithmeticOnlyTest : public testing::TestWithParam<Case> {};

TEST_P(ArithmeticOnlyTest, GivesTheBitsOfTheProtocol) {
  const auto protocol = RunTask(TaskOf(GetParam(), v1::Simulation::PROTOCOL));
  const auto arithmetic =
      RunTask(TaskOf(GetParam(), v1::Simulation::ARITHMETIC_ONLY));
  ASSERT_THAT(protocol, IsOk());
  ASSERT_THAT(arithmetic, IsOk());
  ExpectSameBits(*protocol, *arithmetic);
}

TEST_P(ArithmeticOnlyTest, DoesNotDependOnWorkersOrWire) {
  const v1::Task task = TaskOf(GetParam(), v1::Simulation::ARITHMETIC_ONLY);
  const auto once = RunTask(task);
  ASSERT_THAT(once, IsOk());
  for (const auto& [workers, wire] :
       std::vector<std::pair<int, bool>>{{2, false}, {1, true}, {2, true}}) {
    SCOPED_TRACE(StrCat(workers, " workers, wire ", wire));
    const auto again = RunTask(task, workers, wire);
    ASSERT_THAT(again, IsOk());
    ExpectSameBits(*once, *again);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Tasks, ArithmeticOnlyTest,
    testing::Values(
        Case{"Calm", 1}, Case{"CalmOtherSeed", 7}, Case{"SomeAreLost", 1, 0.15},
        Case{"SomeAreLostOtherSeed", 2, 0.15},
        // Sessions come to nothing and rounds are tried again.
        Case{"ManyAreLost", 3, 0.45}, Case{"ManyAreLostOtherSeed", 4, 0.45},
        Case{"LostInTrainingToo", 5, 0.2,
             "cohort { over_selection: 1.5 } simulation { device_model { "
             "dropout_probability: 0.2 } }"},
        Case{"Groups", 6, 0.15,
             "cohort { size: 18 minimum: 9 minimum_waiting: 18 } "
             "secure_aggregation { group_size: 9 }"},
        Case{"EvaluationOnDevices", 9, 0.2,
             "evaluation { where: DEVICES devices: 8 }"},
        // Enough devices for a circle in which not all are neighbours.
        Case{"Circle", 8, 0.2,
             "simulation { devices: 64 } cohort { size: 60 minimum: 30 } "
             "secure_aggregation { corrupt_fraction: 0 dropout_fraction: 0.2 } "
             "stop { rounds: 2 }"}),
    [](const auto& info) { return info.param.name; });

// The graph decides whose loss costs whom the session, so it must be the same
// in each run although keys and certificates are not.
TEST(ArithmeticOnlyTest, TheProtocolRepeatsItselfWhereTheGraphMatters) {
  const Case groups{"", 6, 0.3,
                    "cohort { size: 18 minimum: 6 minimum_waiting: 18 } "
                    "secure_aggregation { group_size: 7 }"};
  const v1::Task task = TaskOf(groups, v1::Simulation::PROTOCOL);
  const auto once = RunTask(task);
  const auto again = RunTask(task);
  ASSERT_THAT(once, IsOk());
  ASSERT_THAT(again, IsOk());
  ExpectSameBits(*once, *again);
}

// Not the numbers of a run in which nothing was lost, nor one that was masked.
TEST(ArithmeticOnlyTest, LossesCount) {
  const Case lossy{"", 3, 0.45};
  const auto result = RunTask(TaskOf(lossy, v1::Simulation::ARITHMETIC_ONLY));
  ASSERT_THAT(result, IsOk());
  EXPECT_GT(result->vanished_devices, 5);
  int64_t counted = 0;
  for (const RoundMetrics& round : result->rounds) counted += round.devices;
  EXPECT_LT(counted, 40);
}

TEST(ArithmeticOnlyTest, IsRefusedWithoutSecureAggregation) {
  v1::Task task = TaskOf({}, v1::Simulation::ARITHMETIC_ONLY);
  task.clear_secure_aggregation();
  task.mutable_secure_aggregation()->set_mode(v1::SecureAggregation::OFF);
  EXPECT_THAT(ValidateTask(&task),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("simulation.secure_aggregation")));
}

}  // namespace
}  // namespace mledge
