#include "mledge/privacy/plan/private_task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "mledge/privacy/accounting/analytic_gaussian.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kSize = 10'000;
constexpr int64_t kRotatedSize = 10'048;

// As task/validation.h leaves it: 1000 devices a round, 100 rounds, each device
// in at most 5 of them, 20 apart.
v1::Task MakeTask(v1::Privacy::Mechanism mechanism) {
  v1::Task task;
  task.set_name("t");
  task.mutable_cohort()->set_size(1000);
  task.mutable_cohort()->set_minimum(900);
  task.mutable_stop()->set_rounds(100);
  v1::SecureAggregation& secure = *task.mutable_secure_aggregation();
  secure.set_mode(v1::SecureAggregation::ON);
  secure.set_corrupt_fraction(0.1);
  secure.set_dropout_fraction(0.1);
  v1::Privacy& privacy = *task.mutable_privacy();
  privacy.set_mechanism(mechanism);
  privacy.set_target_epsilon(4);
  privacy.set_epsilon_limit(4);
  privacy.set_delta(1e-7);
  privacy.set_population_size(1'000'000);
  privacy.set_participations(5);
  privacy.set_separation(20);
  if (mechanism == v1::Privacy::CORRELATED) {
    privacy.mutable_correlated()->set_buffers(3);
  }
  return task;
}

absl::StatusOr<PrivateTask> Resolve(const v1::Task& task,
                                    int64_t noise_cohort = 0) {
  static const ParameterLayout& layout = *new ParameterLayout(
      **ParameterLayout::Create({{.name = "fc1.weight", .shape = {99, 100}},
                                 {.name = "fc1.bias", .shape = {90}},
                                 {.name = "fc2", .shape = {10}}}));
  EXPECT_EQ(layout.shared_size(), kSize);
  return ResolvePrivateTask(
      task, layout,
      {.rotated_size = kRotatedSize, .noise_cohort = noise_cohort});
}

// Instead of one clip norm.
void ClipLayers(const std::vector<std::pair<std::string, double>>& layers,
                v1::Task* task) {
  task->mutable_local_training()->clear_clip_norm();
  for (const auto& [name, clip_norm] : layers) {
    v1::LayerClipNorm& layer = *task->mutable_privacy()->add_layer_clip_norms();
    layer.set_layer(name);
    layer.set_clip_norm(clip_norm);
  }
}

double Epsilon(const PrivateTask& task, Observer observer,
               int64_t participations) {
  const auto claim = ClaimOf(task, observer, participations);
  EXPECT_THAT(claim, IsOk());
  return claim.ok() ? claim->epsilon() : std::nan("");
}

class EachMechanismTest
    : public ::testing::TestWithParam<v1::Privacy::Mechanism> {};

TEST_P(EachMechanismTest, MeetsItsTargetAndBarely) {
  const auto task = Resolve(MakeTask(GetParam()));
  ASSERT_THAT(task, IsOk());
  const double epsilon = Epsilon(*task, Observer::kModelRecipients, 5);
  EXPECT_LE(epsilon, 4);
  EXPECT_GT(epsilon, 3.99);
  EXPECT_EQ(task->limits, (ParticipationLimits{100, 5, 20}));
  EXPECT_EQ(task->epsilon_limit, 4);
  EXPECT_EQ(task->divisor, 1000);
}

TEST_P(EachMechanismTest, IsTheSameForEverybody) {
  const auto one = Resolve(MakeTask(GetParam()));
  const auto other = Resolve(MakeTask(GetParam()));
  ASSERT_THAT(one, IsOk());
  ASSERT_THAT(other, IsOk());
  EXPECT_EQ(one->noise_multiplier, other->noise_multiplier);
  EXPECT_EQ(one->fraction_bits, other->fraction_bits);
  EXPECT_EQ(one->squared_norm_bound, other->squared_norm_bound);
  EXPECT_EQ(one->device_noise, other->device_noise);
  EXPECT_EQ(one->central_noise, other->central_noise);
}

TEST_P(EachMechanismTest, SumsFitTheAggregator) {
  const auto task = Resolve(MakeTask(GetParam()));
  ASSERT_THAT(task, IsOk());
  ASSERT_TRUE(task->modulus_bits.has_value());
  EXPECT_LE(*task->modulus_bits, 32);
  // What all updates together can reach in grid units fits the modulus' half,
  // and value_bound covers the modulus.
  EXPECT_GE(std::ldexp(task->value_bound, task->fraction_bits) *
                static_cast<double>(task->updates),
            std::ldexp(1.0, *task->modulus_bits - 1));
  EXPECT_GE(std::ldexp(task->value_bound, task->fraction_bits),
            task->l2_sensitivity);
}

INSTANTIATE_TEST_SUITE_P(
    Mechanisms, EachMechanismTest,
    ::testing::Values(v1::Privacy::CENTRAL, v1::Privacy::DISTRIBUTED,
                      v1::Privacy::CORRELATED, v1::Privacy::LOCAL),
    [](const auto& info) { return std::string(MechanismName(info.param)); });

TEST(PrivateTaskTest, CentralNoiseIsThatOfTheGaussianMechanism) {
  const auto task = Resolve(MakeTask(v1::Privacy::CENTRAL));
  ASSERT_THAT(task, IsOk());
  // Five releases of multiplier z are one of z / √5.
  const auto multiplier = GaussianMultiplier(4, 1e-7);
  ASSERT_THAT(multiplier, IsOk());
  const double sensitivity =
      task->l2_sensitivity / std::ldexp(1.0, task->fraction_bits);
  EXPECT_NEAR(task->noise_multiplier / sensitivity, *multiplier * std::sqrt(5),
              2e-3 * *multiplier);
  EXPECT_TRUE(task->central_noise.has_value());
  EXPECT_FALSE(task->device_noise.has_value());
  EXPECT_FALSE(task->rotated);
}

TEST(PrivateTaskTest, WhoIsProtectedAgainstWhom) {
  for (const auto mechanism : {v1::Privacy::CENTRAL, v1::Privacy::CORRELATED}) {
    const auto task = Resolve(MakeTask(mechanism));
    ASSERT_THAT(task, IsOk());
    EXPECT_TRUE(std::isinf(Epsilon(*task, Observer::kCoordinator, 5)));
  }
  for (const auto mechanism : {v1::Privacy::DISTRIBUTED, v1::Privacy::LOCAL}) {
    const auto task = Resolve(MakeTask(mechanism));
    ASSERT_THAT(task, IsOk());
    EXPECT_LE(Epsilon(*task, Observer::kCoordinator, 5), 4);
  }
}

TEST(PrivateTaskTest, DistributedNoiseIsSizedForHonestSurvivors) {
  v1::Task task = MakeTask(v1::Privacy::DISTRIBUTED);
  auto resolved = Resolve(task);
  ASSERT_THAT(resolved, IsOk());
  // Of 900 devices 90 may be lost and 90 corrupt.
  EXPECT_EQ(resolved->honest_updates, 720);
  EXPECT_EQ(resolved->dimension, kRotatedSize);
  EXPECT_TRUE(resolved->rotated);
  const double whole = resolved->device_noise->variance;
  const int bits = resolved->fraction_bits;

  task.mutable_secure_aggregation()->set_least_alive(880);
  resolved = Resolve(task);
  ASSERT_THAT(resolved, IsOk());
  // The worst is a session of 977: 880 left, 97 of them corrupt.
  EXPECT_EQ(resolved->honest_updates, 783);

  // Each group is seen by itself, so its own members' noise has to do.
  task = MakeTask(v1::Privacy::DISTRIBUTED);
  task.mutable_secure_aggregation()->set_group_size(200);
  resolved = Resolve(task);
  ASSERT_THAT(resolved, IsOk());
  EXPECT_EQ(resolved->updates, 200);
  // Groups are cut from the cohort: 10 + 46 of 100 may be corrupt, but for
  // 2^-60.
  EXPECT_NEAR(resolved->corrupt_fraction, 0.56, 0.01);
  EXPECT_EQ(resolved->honest_updates, 34);
  EXPECT_GT(std::ldexp(resolved->device_noise->variance,
                       -2 * resolved->fraction_bits),
            5 * std::ldexp(whole, -2 * bits));
}

TEST(PrivateTaskTest, RefusesACohortWithoutHonestSurvivors) {
  v1::Task task = MakeTask(v1::Privacy::DISTRIBUTED);
  task.mutable_cohort()->set_minimum(3);
  task.mutable_cohort()->set_size(3);
  task.mutable_secure_aggregation()->set_corrupt_fraction(0.5);
  task.mutable_secure_aggregation()->set_dropout_fraction(0.7);
  EXPECT_THAT(Resolve(task), StatusIs(absl::StatusCode::kFailedPrecondition,
                                      HasSubstr("no honest one need be left")));
}

TEST(PrivateTaskTest, SkellamNoiseIsAnEventOfItsOwn) {
  v1::Task task = MakeTask(v1::Privacy::DISTRIBUTED);
  task.mutable_privacy()->mutable_distributed()->set_kind(
      v1::DistributedNoise::SKELLAM);
  const auto resolved = Resolve(task);
  ASSERT_THAT(resolved, IsOk());
  EXPECT_EQ(resolved->device_noise->kind, NoiseKind::kSkellam);
  EXPECT_TRUE(
      std::holds_alternative<SkellamEvent>(resolved->per_participation->kind));
}

TEST(PrivateTaskTest, GivenNoiseIsTakenAsItIs) {
  v1::Task task = MakeTask(v1::Privacy::CENTRAL);
  task.mutable_privacy()->set_noise_multiplier(3);
  task.mutable_privacy()->clear_epsilon_limit();
  const auto resolved = Resolve(task);
  ASSERT_THAT(resolved, IsOk());
  EXPECT_NEAR(resolved->noise_multiplier, 3, 1e-9);
  EXPECT_FALSE(resolved->epsilon_limit.has_value());
}

TEST(PrivateTaskTest, MoreParticipationsCostMore) {
  const auto task = Resolve(MakeTask(v1::Privacy::CENTRAL));
  ASSERT_THAT(task, IsOk());
  double last = 0;
  for (int64_t n = 1; n <= 5; ++n) {
    const double epsilon = Epsilon(*task, Observer::kModelRecipients, n);
    EXPECT_GT(epsilon, last);
    last = epsilon;
  }
  EXPECT_THAT(ClaimOf(*task, Observer::kModelRecipients, 6),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ClaimOf(*task, Observer::kModelRecipients, 0),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(PrivateTaskTest, CorrelatedNoiseIsOneMechanismOverTheWholeSchedule) {
  const auto task = Resolve(MakeTask(v1::Privacy::CORRELATED));
  ASSERT_THAT(task, IsOk());
  ASSERT_TRUE(task->correlated_noise.has_value());
  EXPECT_EQ(task->correlated_noise->rounds, 100);
  EXPECT_EQ(task->correlated_noise->dimension, kSize);
  EXPECT_FALSE(task->per_participation.has_value());
  EXPECT_EQ(Epsilon(*task, Observer::kModelRecipients, 1),
            Epsilon(*task, Observer::kModelRecipients, 5));
}

TEST(PrivateTaskTest, AdaptiveClippingIsPaidForWithNoise) {
  const auto fixed = Resolve(MakeTask(v1::Privacy::CENTRAL));
  ASSERT_THAT(fixed, IsOk());
  v1::Task task = MakeTask(v1::Privacy::CENTRAL);
  task.mutable_privacy()->mutable_adaptive_clipping()->set_count_noise(50);
  const auto adaptive = Resolve(task);
  ASSERT_THAT(adaptive, IsOk());
  EXPECT_EQ(adaptive->count_noise, 50);
  EXPECT_LE(Epsilon(*adaptive, Observer::kModelRecipients, 5), 4);
  EXPECT_GE(adaptive->noise_multiplier, fixed->noise_multiplier * (1 - 1e-4));
  EXPECT_LT(adaptive->noise_multiplier, fixed->noise_multiplier * 1.01);
}

// So little noise on the count that it alone is more than the target allows.
TEST(PrivateTaskTest, RefusesAnInfeasibleCount) {
  v1::Task task = MakeTask(v1::Privacy::CENTRAL);
  task.mutable_privacy()->mutable_adaptive_clipping()->set_count_noise(0.1);
  EXPECT_THAT(Resolve(task), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("target_epsilon")));
}

TEST(PrivateTaskTest, RefusesASumThatNoModulusHolds) {
  v1::Task task = MakeTask(v1::Privacy::LOCAL);
  task.mutable_cohort()->set_size(10'000'000);
  task.mutable_cohort()->set_minimum(10'000'000);
  EXPECT_THAT(Resolve(task), StatusIs(absl::StatusCode::kFailedPrecondition,
                                      HasSubstr("lower cohort.size")));
}

// A simulated cohort of 100 stands for 1000: the mean's noise is the same.
TEST(PrivateTaskTest, SimulatesTheNoiseOfTheDeployment) {
  for (const auto mechanism : {v1::Privacy::CENTRAL, v1::Privacy::CORRELATED}) {
    v1::Task task = MakeTask(mechanism);
    const auto deployment = Resolve(task);
    ASSERT_THAT(deployment, IsOk());
    task.mutable_cohort()->set_size(100);
    task.mutable_cohort()->set_minimum(90);
    const auto simulated = Resolve(task, /*noise_cohort=*/1000);
    ASSERT_THAT(simulated, IsOk());
    EXPECT_EQ(simulated->divisor, 100);
    EXPECT_EQ(Epsilon(*simulated, Observer::kModelRecipients, 5),
              Epsilon(*deployment, Observer::kModelRecipients, 5));
    EXPECT_NEAR(NoiseOnMean(*simulated, 100) / NoiseOnMean(*deployment, 1000),
                1, 0.02);
    const auto on_mean = [](const PrivateTask& resolved) {
      const double variance =
          resolved.central_noise.has_value()
              ? resolved.central_noise->variance
              : std::ldexp(resolved.correlated_noise->standard_deviation *
                               resolved.correlated_noise->standard_deviation,
                           -2 * resolved.correlated_noise->fraction_bits);
      return std::ldexp(std::sqrt(variance), -resolved.fraction_bits) /
             static_cast<double>(resolved.divisor);
    };
    EXPECT_NEAR(on_mean(*simulated) / on_mean(*deployment), 1, 0.02);
    // A real fleet's numbers never come from the simulation's section.
    task.mutable_simulation()->set_noise_cohort(1000);
    const auto real = Resolve(task);
    ASSERT_THAT(real, IsOk());
    EXPECT_GT(on_mean(*real), 5 * on_mean(*deployment));
  }
}

TEST(PrivateTaskTest, TheDeploymentKeepsTheProportionsOfItsSimulation) {
  v1::Task task = MakeTask(v1::Privacy::DISTRIBUTED);
  task.mutable_secure_aggregation()->set_least_alive(7);
  task.mutable_cohort()->set_size(30);
  task.mutable_cohort()->set_minimum(20);
  const v1::Task deployment = Deployed(task, 1000);
  EXPECT_EQ(deployment.cohort().size(), 1000);
  EXPECT_EQ(deployment.cohort().minimum(), 666);
  EXPECT_EQ(deployment.secure_aggregation().least_alive(), 233);
  // Groups stay as they are, and so does what may be left of one.
  v1::Task grouped = task;
  grouped.mutable_secure_aggregation()->set_group_size(10);
  EXPECT_EQ(Deployed(grouped, 1000).secure_aggregation().least_alive(), 7);
  // Products beyond 64 bits.
  task.mutable_cohort()->set_size(8'000'000'000);
  task.mutable_cohort()->set_minimum(6'000'000'000);
  EXPECT_EQ(Deployed(task, 10'000'000'000).cohort().minimum(), 7'500'000'000);
  EXPECT_EQ(Deployed(task, 0).cohort().size(), 8'000'000'000);
}

TEST(PrivateTaskTest, SimulatesDistributedNoiseOfTheDeployment) {
  v1::Task task = MakeTask(v1::Privacy::DISTRIBUTED);
  const auto deployment = Resolve(task);
  ASSERT_THAT(deployment, IsOk());
  task.mutable_cohort()->set_size(100);
  task.mutable_cohort()->set_minimum(90);
  const auto simulated = Resolve(task, /*noise_cohort=*/1000);
  ASSERT_THAT(simulated, IsOk());
  // Of a device: in the model's units, 1000 of them on a mean of 1000.
  const auto on_mean = [](const PrivateTask& resolved) {
    return std::ldexp(std::sqrt(resolved.device_noise->variance /
                                static_cast<double>(resolved.divisor)),
                      -resolved.fraction_bits);
  };
  EXPECT_NEAR(on_mean(*simulated) / on_mean(*deployment), 1, 0.02);
  EXPECT_EQ(simulated->per_participation, deployment->per_participation);
  // Sessions lose devices in the simulation as in the deployment.
  EXPECT_EQ(simulated->least_honest, Resolve(task)->least_honest);
}

// Pitfall 12. Everything after the clip counts in units of the clip norm, so
// the plan of layers whose total is C is that of updates clipped to C.
TEST(PrivateTaskTest, LayersAreClippedToTheRootOfTheSumOfSquares) {
  for (const auto mechanism : {v1::Privacy::CENTRAL, v1::Privacy::CORRELATED,
                               v1::Privacy::DISTRIBUTED, v1::Privacy::LOCAL}) {
    v1::Task task = MakeTask(mechanism);
    task.mutable_local_training()->set_clip_norm(0.5);
    const auto whole = Resolve(task);
    ASSERT_THAT(whole, IsOk());
    EXPECT_EQ(whole->clip_norm, 0.5);
    EXPECT_TRUE(whole->layers.empty());
    ClipLayers({{"fc2", 0.3}, {"fc1", 0.4}}, &task);
    const auto layers = Resolve(task);
    ASSERT_THAT(layers, IsOk());
    EXPECT_GE(layers->clip_norm, 0.5);
    EXPECT_NEAR(layers->clip_norm, 0.5, 1e-15);
    ASSERT_EQ(layers->layers.size(), 2u);
    using Range = ClippedLayer::Range;
    EXPECT_EQ(layers->layers[0].name, "fc2");
    EXPECT_EQ(layers->layers[0].clip_norm, 0.3);
    EXPECT_THAT(layers->layers[0].ranges, ElementsAre(Range{9990, 10}));
    EXPECT_THAT(layers->layers[1].ranges, ElementsAre(Range{0, 9990}));
    EXPECT_EQ(layers->noise_multiplier, whole->noise_multiplier);
    EXPECT_EQ(layers->squared_norm_bound, whole->squared_norm_bound);
    EXPECT_EQ(layers->per_participation, whole->per_participation);
    EXPECT_EQ(layers->per_schedule, whole->per_schedule);
  }
}

TEST(PrivateTaskTest, LayersHoldEveryParameterOnce) {
  const auto refused =
      [](const std::vector<std::pair<std::string, double>>& layers,
         const char* message) {
        v1::Task task = MakeTask(v1::Privacy::CENTRAL);
        ClipLayers(layers, &task);
        EXPECT_THAT(Resolve(task), StatusIs(absl::StatusCode::kInvalidArgument,
                                            HasSubstr(message)));
      };
  refused({{"fc1", 1}}, "parameter fc2 is in no layer");
  refused({{"fc1.weight", 1}, {"fc2", 1}}, "parameter fc1.bias is in no layer");
  refused({{"fc1", 1}, {"fc1.bias", 1}, {"fc2", 1}},
          "parameter fc1.bias is in the layers fc1 and fc1.bias");
  refused({{"fc1", 1}, {"fc2", 1}, {"fc2", 1}}, "in the layers fc2 and fc2");
  refused({{"fc1", 1}, {"fc2", 1}, {"fc", 1}}, "layer fc has no parameter");
}

TEST(PrivateTaskTest, ClaimsSayEverythingThatTheyRestOn) {
  const auto task = Resolve(MakeTask(v1::Privacy::DISTRIBUTED));
  ASSERT_THAT(task, IsOk());
  const auto claim = ClaimOf(*task, Observer::kCoordinator, 2);
  ASSERT_THAT(claim, IsOk());
  EXPECT_EQ(claim->unit(), "device");
  EXPECT_EQ(claim->adjacency(), v1::ADJACENCY_ZERO_OUT);
  EXPECT_EQ(claim->observer(), v1::OBSERVER_COORDINATOR);
  EXPECT_EQ(claim->delta(), 1e-7);
  EXPECT_THAT(claim->accountant(), ::testing::AnyOf("rdp", "pld"));
  EXPECT_THAT(claim->assumptions(),
              ::testing::Contains(HasSubstr("at most 2 of 100 rounds")));
  EXPECT_THAT(claim->assumptions(),
              ::testing::Contains(HasSubstr("720 devices")));
}

v1::Task MakePoissonTask() {
  v1::Task task = MakeTask(v1::Privacy::CENTRAL);
  task.mutable_secure_aggregation()->Clear();
  task.mutable_secure_aggregation()->set_mode(v1::SecureAggregation::OFF);
  v1::Cohort& cohort = *task.mutable_cohort();
  cohort.set_selection(v1::Cohort::POISSON);
  cohort.set_minimum(0);
  cohort.set_minimum_waiting(100'000);
  task.mutable_privacy()->set_population_size(100'000);
  task.mutable_privacy()->set_participations(100);
  task.mutable_privacy()->set_separation(1);
  return task;
}

TEST(PoissonTaskTest, EveryRoundIsASampledGaussianForEverybody) {
  const v1::Task task = MakePoissonTask();
  const auto resolved = Resolve(task);
  ASSERT_THAT(resolved, IsOk());
  const auto* const event = std::get_if<PoissonSampledGaussianEvent>(
      &resolved->per_participation->kind);
  ASSERT_NE(event, nullptr);
  EXPECT_EQ(event->sampling_probability, 0.01);
  // Never more noise than there is; hardly less.
  const double multiplier =
      std::sqrt(resolved->central_noise->variance) / resolved->l2_sensitivity;
  EXPECT_LT(event->noise_multiplier, multiplier);
  EXPECT_GT(event->noise_multiplier, 0.999 * multiplier);
  EXPECT_LE(Epsilon(*resolved, Observer::kModelRecipients, 100), 4);
  EXPECT_GT(Epsilon(*resolved, Observer::kModelRecipients, 100), 3.99);
  EXPECT_EQ(Epsilon(*resolved, Observer::kCoordinator, 100),
            std::numeric_limits<double>::infinity());
  // What it would take without the secret sample.
  v1::Task in_the_open = task;
  in_the_open.mutable_cohort()->set_selection(v1::Cohort::FIXED_SIZE);
  in_the_open.mutable_cohort()->set_minimum(1000);
  const auto open = Resolve(in_the_open);
  ASSERT_THAT(open, IsOk());
  EXPECT_GT(open->noise_multiplier, 5 * resolved->noise_multiplier);
}

TEST(PoissonTaskTest, UpdateAndClipBitHaveOneCoin) {
  v1::Task task = MakePoissonTask();
  task.mutable_privacy()->clear_epsilon_limit();
  task.mutable_privacy()->set_noise_multiplier(1);
  const auto without = Resolve(task);
  task.mutable_privacy()->mutable_adaptive_clipping()->set_count_noise(5);
  const auto with = Resolve(task);
  ASSERT_THAT(without, IsOk());
  ASSERT_THAT(with, IsOk());
  const auto multiplier_of = [](const PrivateTask& resolved) {
    return std::get<PoissonSampledGaussianEvent>(
               resolved.per_participation->kind)
        .noise_multiplier;
  };
  // Bits of ±1/2 under noise of 5: multiplier 10.
  EXPECT_NEAR(multiplier_of(*with),
              1 / std::sqrt(std::pow(multiplier_of(*without), -2) + 0.01),
              1e-9);
}

TEST(PoissonTaskTest, ASimulationClaimsWhatItsDeploymentDoes) {
  v1::Task task = MakePoissonTask();
  task.mutable_privacy()->set_population_size(1'000'000);
  const auto simulated = Resolve(task, /*noise_cohort=*/20'000);
  ASSERT_THAT(simulated, IsOk());
  const auto& event =
      std::get<PoissonSampledGaussianEvent>(simulated->per_participation->kind);
  EXPECT_EQ(event.sampling_probability, 0.02);
  EXPECT_EQ(simulated->divisor, 1000);
  EXPECT_NEAR(NoiseOnMean(*simulated, 1000),
              simulated->noise_multiplier / 20'000, 1e-3 / 20'000);
  const auto claim = ClaimOf(*simulated, Observer::kModelRecipients, 100);
  ASSERT_THAT(claim, IsOk());
  EXPECT_THAT(claim->assumptions(),
              ::testing::Contains(HasSubstr("with probability 0.02")));
}

TEST(PoissonTaskTest, OnlySimulationsKeepToIt) {
  EXPECT_THAT(CheckCanBeKept(MakeTask(v1::Privacy::CENTRAL)), IsOk());
  EXPECT_THAT(CheckCanBeKept(MakePoissonTask()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("cohort.selection is poisson")));
}

}  // namespace
}  // namespace mledge
