// Canary audits of simulated tasks: a large bound where there is next to no
// noise, one below the claim where there is enough, and no audit without a
// claim. Runs are repeated bit for bit, so nothing here fails by chance; seeds
// were not chosen.
#include "mledge/simulation/internal/canary_audit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "google/protobuf/text_format.h"
#include "mledge/tests/simulation/simulation_fixture.h"

namespace mledge {
namespace {

using simulation_internal::CanaryAudit;
using ::testing::HasSubstr;

constexpr int64_t kParameters = 10'000;

v1::Task Parse(const std::string& fields) {
  v1::Task task;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(fields, &task));
  return task;
}

v1::Task MakeAuditedTask(const std::string& mechanism, double epsilon) {
  v1::Task task = Parse(R"pb(
    local_training { clip_norm: 0.5 }
    cohort { size: 50 }
    aggregation { weighting: UNIFORM }
    evaluation { every: 0 }
    stop { rounds: 5 }
    simulation { devices: 200 }
    privacy { delta: 1e-4 population_size: 200 })pb");
  task.mutable_privacy()->set_target_epsilon(epsilon);
  task.MergeFrom(Parse(mechanism));
  if (task.privacy().layer_clip_norms_size() > 0) {
    task.mutable_local_training()->clear_clip_norm();
  }
  return MakeTask(task.ShortDebugString());
}

Simulator::Options MakeAudit(const v1::Task& task, int64_t canaries) {
  Simulator::Options options = MakeOptions(task);
  options.package = MakeFakePackage(kParameters);
  options.training_data = Examples(400);
  options.test_data = nullptr;
  options.audit_canaries = canaries;
  return options;
}

struct Mechanism {
  std::string name;
  std::string fields;
};

class EachMechanismTest : public ::testing::TestWithParam<Mechanism> {};

TEST_P(EachMechanismTest, TheBoundIsLargeWithoutNoise) {
  const auto result =
      Simulate(MakeAudit(MakeAuditedTask(GetParam().fields, 1000), 150));
  ASSERT_THAT(result, IsOk());
  ASSERT_TRUE(result->audit.has_value());
  const CanaryAuditReport& audit = *result->audit;
  // No bound of 150 canaries can be above 3.5.
  EXPECT_GT(audit.epsilon_lower_bound, 2.5);
  EXPECT_GE(audit.correct, audit.guesses - 2);
  EXPECT_EQ(audit.canaries, 150);
  EXPECT_GT(audit.took_part, 100);
  EXPECT_EQ(audit.confidence, 0.95);
  EXPECT_FALSE(audit.contradicts_claim());
  // Round by round it grows to what is reported.
  EXPECT_EQ(result->rounds.back().audit_epsilon_lower_bound,
            audit.epsilon_lower_bound);
  EXPECT_LT(result->rounds.front().audit_epsilon_lower_bound.value_or(0),
            audit.epsilon_lower_bound);
}

TEST_P(EachMechanismTest, TheBoundStaysBelowAClaimOfTwo) {
  const auto result =
      Simulate(MakeAudit(MakeAuditedTask(GetParam().fields, 2), 150));
  ASSERT_THAT(result, IsOk());
  ASSERT_TRUE(result->audit.has_value());
  EXPECT_LE(result->audit->claim.epsilon(), 2);
  EXPECT_GT(result->audit->claim.epsilon(), 1.9);
  EXPECT_LT(result->audit->epsilon_lower_bound, 2);
  EXPECT_EQ(result->audit->claim.observer(), v1::OBSERVER_MODEL_RECIPIENTS);
  EXPECT_FALSE(result->audit->contradicts_claim());
}

INSTANTIATE_TEST_SUITE_P(
    All, EachMechanismTest,
    ::testing::Values(
        Mechanism{"Central",
                  "privacy { mechanism: CENTRAL participations: 2 }"},
        Mechanism{"CentralWithMomentum",
                  "privacy { mechanism: CENTRAL participations: 2 } "
                  "aggregation { sgd { learning_rate: 0.5 momentum: 0.9 } }"},
        Mechanism{"AdaptiveClipping",
                  "privacy { mechanism: CENTRAL participations: 2 "
                  "adaptive_clipping { count_noise: 20 } }"},
        Mechanism{"Layers",
                  "privacy { mechanism: CENTRAL participations: 2 "
                  "layer_clip_norms { layer: 'weight' clip_norm: 0.5 } }"},
        Mechanism{"Correlated",
                  "privacy { mechanism: CORRELATED participations: 2 "
                  "separation: 2 correlated { kind: SQUARE_ROOT bands: 2 } }"},
        Mechanism{"Distributed",
                  "privacy { mechanism: DISTRIBUTED participations: 2 } "
                  "secure_aggregation { mode: ON } "
                  "simulation { secure_aggregation: ARITHMETIC_ONLY }"},
        Mechanism{"Local", "privacy { mechanism: LOCAL participations: 2 }"},
        Mechanism{"Poisson",
                  "privacy { mechanism: CENTRAL } "
                  "cohort { selection: POISSON } stop { rounds: 24 }"}),
    [](const auto& info) { return info.param.name; });

TEST(CanaryAuditTest, IsRepeatedBitForBit) {
  const v1::Task task =
      MakeAuditedTask("privacy { mechanism: CENTRAL participations: 2 }", 8);
  Simulator::Options options = MakeAudit(task, 100);
  const auto once = Simulate(options);
  ASSERT_THAT(once, IsOk());
  options.workers = 3;
  options.wire = true;
  const auto again = Simulate(options);
  ASSERT_THAT(again, IsOk());
  ExpectSameRun(*once, *again);
  EXPECT_EQ(once->audit->epsilon_lower_bound,
            again->audit->epsilon_lower_bound);
  EXPECT_EQ(once->audit->correct, again->audit->correct);
}

// With one device expected a round, every third sample is empty: such rounds
// follow each other at once, and each one's model is looked at.
TEST(CanaryAuditTest, LooksAtTheModelsOfEmptyRoundsToo) {
  const v1::Task task = MakeAuditedTask(
      "cohort { size: 1 selection: POISSON } stop { rounds: 20 } "
      "privacy { mechanism: CENTRAL }",
      1000);
  const auto result = Simulate(MakeAudit(task, 100));
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->state, v1::COMPLETED) << result->reason;
  ASSERT_EQ(result->rounds.size(), 20u);
  int empty_in_a_row = 0;
  for (size_t i = 1; i < result->rounds.size(); ++i) {
    empty_in_a_row +=
        result->rounds[i - 1].devices == 0 && result->rounds[i].devices == 0;
  }
  EXPECT_GT(empty_in_a_row, 0);
}

// The same claim, and a coordinator that forgot its noise.
TEST(CanaryAuditTest, FindsOutNoiseThatIsMissing) {
  const v1::Task task =
      MakeAuditedTask("privacy { mechanism: CENTRAL participations: 2 }", 2);
  const ModelPackage package = MakeFakePackage(kParameters);
  auto audit = CanaryAudit::Create(task, package, 200, 200);
  ASSERT_THAT(audit, IsOk());
  std::vector<float> model(kParameters);
  for (int64_t round = 1; round <= 4; ++round) {
    std::vector<double> mean(kParameters);
    for (int64_t device = (round - 1) * 50; device < round * 50; ++device) {
      (*audit)->Trains(device, round, 0.5);
      const Update update = (*audit)->UpdateOf(device, 0.5);
      double squares = 0;
      for (int64_t i = 0; i < kParameters; ++i) {
        const double value = update.sections[0].values.span()[i];
        squares += value * value;
        mean[i] += value / 50;
      }
      EXPECT_LE(squares, 0.25);
      EXPECT_TRUE(squares == 0 || squares > 0.2499);
    }
    for (int64_t i = 0; i < kParameters; ++i) {
      model[i] += static_cast<float>(mean[i]);
    }
    (*audit)->Released(round, model);
  }
  const auto report = (*audit)->Report();
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->took_part, 200);
  EXPECT_EQ(report->correct, 200);
  EXPECT_GT(report->epsilon_lower_bound, 3);
  EXPECT_TRUE(report->contradicts_claim());
}

TEST(CanaryAuditTest, RefusesWhatItCannotAudit) {
  const auto refused = [](const v1::Task& task, int64_t canaries,
                          const char* why) {
    EXPECT_THAT(Simulate(MakeAudit(task, canaries)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
  };
  refused(MakeTask("simulation { devices: 200 }"), 100,
          "claims nothing (privacy.mechanism is none)");
  const v1::Task task =
      MakeAuditedTask("privacy { mechanism: CENTRAL participations: 2 }", 2);
  refused(task, 7, "ask for 8 to 200");
  refused(task, 201, "ask for 8 to 200");
  refused(task, -1, "ask for 8 to 200");
  v1::Task deployed = task;
  deployed.mutable_simulation()->set_noise_cohort(5000);
  refused(deployed, 100, "--set simulation.noise_cohort=50");
  v1::Task adam = task;
  adam.mutable_aggregation()->mutable_adam()->set_learning_rate(0.01);
  refused(adam, 100, "aggregation.adam");
}

TEST(CanaryAuditTest, SaysWhenTooFewCanariesTookPart) {
  v1::Task task =
      MakeAuditedTask("privacy { mechanism: CENTRAL participations: 1 }", 2);
  task.mutable_stop()->set_rounds(1);
  EXPECT_THAT(Simulate(MakeAudit(task, 8)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("ask for more canaries, more rounds")));
}

}  // namespace
}  // namespace mledge
