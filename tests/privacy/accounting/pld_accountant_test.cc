#include "mledge/privacy/accounting/pld_accountant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "mledge/privacy/accounting/analytic_gaussian.h"
#include "mledge/privacy/accounting/rdp_accountant.h"
#include "mledge/tests/privacy/accounting/reference_values.h"
#include "mledge/tests/privacy/accounting/sample_events.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double Epsilon(const PrivacyEvent& event, double delta,
               PldAccountant::Options options = {}) {
  auto accountant = PldAccountant::Create(options);
  EXPECT_THAT(accountant, IsOk());
  EXPECT_THAT(accountant->Compose(event), IsOk());
  const auto epsilon = accountant->Epsilon(delta);
  EXPECT_THAT(epsilon, IsOk());
  return *epsilon;
}

double RdpEpsilon(const PrivacyEvent& event, double delta,
                  Adjacency adjacency) {
  auto accountant = RdpAccountant::Create({.adjacency = adjacency});
  EXPECT_THAT(accountant->Compose(event), IsOk());
  return *accountant->Epsilon(delta);
}

TEST(PldAccountantTest, IsWithinAThousandthAboveDpAccountingWhereThatIsTight) {
  int compared = 0;
  int far_tighter = 0;
  for (const ReferenceValue& value : ReferenceValues()) {
    if (!value.pld_epsilon.has_value()) continue;
    const double epsilon = Epsilon(value.Event(), value.delta);
    ++compared;
    if (epsilon < 0.95 * *value.pld_epsilon) ++far_tighter;
    // Its own finer grid is closer to the truth where the default is too
    // coarse.
    const double best =
        std::min(*value.pld_epsilon, value.pld_pessimistic.value_or(kInfinity));
    EXPECT_LE(epsilon, best * 1.001) << value.Name();
    if (value.pld_optimistic.has_value()) {
      EXPECT_GE(epsilon, *value.pld_optimistic) << value.Name();
    }
    EXPECT_LT(epsilon, value.rdp_epsilon) << value.Name();
  }
  EXPECT_GE(compared, 50);
  // Where its grid is coarser than the losses.
  EXPECT_GE(far_tighter, 5);
}

// Ours from below on a finer grid, ours from above: the truth is between.
TEST(PldAccountantTest, PessimisticIsAboveOptimistic) {
  int narrow = 0;
  int all = 0;
  const std::vector<ReferenceValue> values = ReferenceValues();
  for (size_t i = 0; i < values.size(); i += 4) {
    const ReferenceValue& value = values[i];
    const double above = Epsilon(value.Event(), value.delta);
    const double below =
        Epsilon(value.Event(), value.delta,
                {.estimate = PldEstimate::kOptimistic, .accuracy = 1e-4});
    EXPECT_LE(below, above) << value.Name();
    ++all;
    if (below > above * (1 - 1e-3)) ++narrow;
  }
  EXPECT_GE(narrow, all - 3);
}

TEST(PldAccountantTest, PrintsThePublishedRunOfDpFedAvg) {
  EXPECT_NEAR(Epsilon(DpFedAvgRun(), 1e-9), 3.899, 5e-4);
}

TEST(PldAccountantTest, TheHeadlinePoint) {
  const double epsilon =
      Epsilon(Repeated({PoissonSampledGaussianEvent{0.01, 1}}, 10000), 1e-5);
  EXPECT_NEAR(epsilon, 6.18775, 6.18775 * 1e-3);
  EXPECT_GE(epsilon, 6.1877);
}

// Pitfall 1: sampling without replacement is not Poisson sampling.
TEST(PldAccountantTest, FixedSizeSamplingIsNotPoisson) {
  const PrivacyEvent fixed =
      Repeated({SampledWithoutReplacementGaussianEvent{10000, 100, 1.6}}, 500);
  const double claim =
      Epsilon(fixed, 1e-6, {.adjacency = Adjacency::kReplaceOne});
  const double poisson =
      Epsilon(Repeated({PoissonSampledGaussianEvent{0.01, 1.6}}, 500), 1e-6);
  EXPECT_NEAR(poisson, 0.68, 5e-3);
  EXPECT_GT(claim, 4 * poisson);
  // Tighter than the bound of Rényi divergences.
  EXPECT_LT(claim, RdpEpsilon(fixed, 1e-6, Adjacency::kReplaceOne));
  // The whole population is no sample.
  EXPECT_NEAR(Epsilon({SampledWithoutReplacementGaussianEvent{100, 100, 4}},
                      1e-6, {.adjacency = Adjacency::kReplaceOne}),
              *GaussianEpsilon(2, 1e-6), 1e-9);
}

// One use: the known amplification of a fixed-size sample (Balle, Barthe,
// Gaboardi 2018, theorem 9): log(1 + q(e^ε - 1)) at q δ.
TEST(PldAccountantTest, OneFixedSizeSampleIsTheAmplificationTheorem) {
  const double epsilon = *GaussianEpsilon(0.8, 1e-4);
  EXPECT_NEAR(Epsilon({SampledWithoutReplacementGaussianEvent{10000, 100, 1.6}},
                      0.01 * 1e-4, {.adjacency = Adjacency::kReplaceOne}),
              std::log1p(0.01 * std::expm1(epsilon)), 1e-8);
}

// Pitfall 2.
TEST(PldAccountantTest, ReplaceOneDoublesTheSensitivity) {
  EXPECT_NEAR(
      Epsilon({GaussianEvent{2}}, 1e-5, {.adjacency = Adjacency::kReplaceOne}),
      4.377, 5e-4);
  EXPECT_NEAR(
      Epsilon({LaplaceEvent{2}}, 1e-30, {.adjacency = Adjacency::kReplaceOne}),
      1, 1e-6);
}

// Pitfall 3, with its own figures: ten uses of a response of ε = log 3.
TEST(PldAccountantTest, ACountOfRandomizedResponsesCounts) {
  const PrivacyEvent event = {RandomizedResponseEvent{std::log(3.0), 2}};
  const PldAccountant::Options options = {.adjacency = Adjacency::kReplaceOne};
  EXPECT_NEAR(Epsilon(event, 1e-6, options), 1.0986, 1e-3);
  EXPECT_NEAR(Epsilon(Repeated(event, 10), 1e-6, options), 10.99, 5e-3);
}

TEST(PldAccountantTest, ACountIsThatManySingleEventsForEveryKind) {
  for (const PrivacyEvent& event : OneOfEachKind()) {
    const Adjacency adjacency = CheckAdjacency(event, Adjacency::kZeroOut).ok()
                                    ? Adjacency::kZeroOut
                                    : Adjacency::kReplaceOne;
    auto at_once = PldAccountant::Create({.adjacency = adjacency});
    auto singly = PldAccountant::Create({.adjacency = adjacency});
    auto once = PldAccountant::Create({.adjacency = adjacency});
    const absl::Status composed = at_once->Compose(event, 12);
    if (!composed.ok()) {
      EXPECT_THAT(composed, StatusIs(StatusCode::kInvalidArgument,
                                     HasSubstr("account for it by RDP")));
      EXPECT_TRUE(std::holds_alternative<ZcdpEvent>(event.kind) ||
                  std::holds_alternative<SkellamEvent>(event.kind))
          << EventName(event);
      continue;
    }
    for (int i = 0; i < 12; ++i) ASSERT_THAT(singly->Compose(event), IsOk());
    ASSERT_THAT(once->Compose(event), IsOk());
    const double epsilon = *at_once->Epsilon(1e-6);
    EXPECT_EQ(*singly->Epsilon(1e-6), epsilon) << EventName(event);
    if (std::isfinite(epsilon)) {
      EXPECT_GT(epsilon, *once->Epsilon(1e-6)) << EventName(event);
    }
  }
}

TEST(PldAccountantTest, IsNeverAboveRdp) {
  for (const PrivacyEvent& event : OneOfEachKind()) {
    const Adjacency adjacency = CheckAdjacency(event, Adjacency::kZeroOut).ok()
                                    ? Adjacency::kZeroOut
                                    : Adjacency::kReplaceOne;
    auto accountant = PldAccountant::Create({.adjacency = adjacency});
    if (!accountant->Compose(event, 5).ok()) continue;
    EXPECT_LE(*accountant->Epsilon(1e-6),
              RdpEpsilon(Repeated(event, 5), 1e-6, adjacency))
        << EventName(event);
  }
}

// Losses beyond the range of doubles: no number may come out that is too small.
// (It once was 0.)
TEST(PldAccountantTest, NextToNoNoiseCostsNeverLessThanOneStepOfIt) {
  for (const double noise : {0.05, 0.03, 0.02, 0.01, 1e-3}) {
    const PrivacyEvent event{PoissonSampledGaussianEvent{
        .sampling_probability = 0.25, .noise_multiplier = noise}};
    const double once = Epsilon(event, 1e-9);
    EXPECT_GT(once, 0.4 / (noise * noise)) << noise;
    for (const int64_t count : {2, 14, 15, 1000}) {
      EXPECT_GT(Epsilon(Repeated(event, count), 1e-9), once)
          << noise << " " << count;
      EXPECT_EQ(
          *[&] {
            auto accountant = PldAccountant::Create({});
            EXPECT_THAT(accountant->Compose(event, count), IsOk());
            return accountant->Delta(once / 2);
          }(),
          1)
          << noise << " " << count;
    }
  }
}

// Many coordinates are dearer than one by the smoothing's price alone.
TEST(PldAccountantTest, ManyCoordinatesOfADiscreteGaussianCostAlmostAsOne) {
  const double one =
      Epsilon(Repeated({DiscreteGaussianEvent{40, 10, 10, 1}}, 20), 1e-6);
  const double many = Epsilon(
      Repeated({DiscreteGaussianEvent{40, 10, 1e4, 1'000'000}}, 20), 1e-6);
  EXPECT_GT(many, one);
  EXPECT_LT(many, one * 1.002);
  EXPECT_LT(
      many,
      RdpEpsilon(Repeated({DiscreteGaussianEvent{40, 10, 1e4, 1'000'000}}, 20),
                 1e-6, Adjacency::kAddOrRemoveOne));
}

TEST(PldAccountantTest, RefusesADiscreteGaussianTooSmallForManyCoordinates) {
  auto accountant = PldAccountant::Create({});
  EXPECT_THAT(accountant->Compose({DiscreteGaussianEvent{0.5, 1, 1, 1000}}),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("too small for its loss")));
  EXPECT_THAT(accountant->Compose({DiscreteGaussianEvent{0.5, 1, 1, 1}}),
              IsOk());
}

// Distributed noise of n devices is central noise of n times the variance.
TEST(PldAccountantTest, DistributedNoiseCostsAsCentralOfTheSameSum) {
  const double distributed = Epsilon(
      Repeated({DistributedDiscreteGaussianEvent{.local_sigma = 3,
                                                 .honest_clients = 400,
                                                 .dimension = 100'000,
                                                 .l2_sensitivity = 20,
                                                 .l1_sensitivity = 400}},
               10),
      1e-6, {.adjacency = Adjacency::kZeroOut});
  const double central =
      Epsilon(Repeated({DiscreteGaussianEvent{60, 20, 400, 100'000}}, 10), 1e-6,
              {.adjacency = Adjacency::kZeroOut});
  EXPECT_NEAR(distributed / central, 1, 1e-3);
}

TEST(PldAccountantTest, MatrixMechanismsAreOneGaussianEach) {
  const PrivacyEvent event = {MatrixMechanismEvent{4, 1.6, 2000, 6, 342}};
  EXPECT_DOUBLE_EQ(Epsilon(event, 1e-6, {.adjacency = Adjacency::kZeroOut}),
                   *GaussianEpsilon(2.5, 1e-6));
}

// Composition laws over unequal parts.
TEST(PldAccountantTest, CompositionIsCommutativeAndAssociative) {
  const PrivacyEvent sampled =
      Repeated({PoissonSampledGaussianEvent{0.02, 1.1}}, 40);
  const PrivacyEvent laplace = {LaplaceEvent{5}};
  const PrivacyEvent gaussian = Repeated({GaussianEvent{8}}, 3);
  const double whole =
      Epsilon({ComposedEvent{{sampled, laplace, gaussian}, 1}}, 1e-6);
  EXPECT_NEAR(Epsilon({ComposedEvent{{gaussian, sampled, laplace}, 1}}, 1e-6),
              whole, whole * 1e-9);
  EXPECT_NEAR(
      Epsilon({ComposedEvent{{{ComposedEvent{{gaussian, sampled}, 1}}, laplace},
                             1}},
              1e-6),
      whole, whole * 1e-9);
  EXPECT_GT(whole, Epsilon(sampled, 1e-6));
  EXPECT_LT(whole, Epsilon(sampled, 5e-7) +
                       Epsilon({ComposedEvent{{laplace, gaussian}, 1}}, 5e-7));
}

TEST(PldAccountantTest, EpsilonIsMonotone) {
  const auto at = [](double q, double z, int64_t steps, double delta) {
    return Epsilon(Repeated({PoissonSampledGaussianEvent{q, z}}, steps), delta);
  };
  const double here = at(0.02, 1, 200, 1e-6);
  EXPECT_GT(at(0.03, 1, 200, 1e-6), here);
  EXPECT_LT(at(0.02, 1.1, 200, 1e-6), here);
  EXPECT_GT(at(0.02, 1, 300, 1e-6), here);
  EXPECT_GT(at(0.02, 1, 200, 1e-7), here);
}

TEST(PldAccountantTest, DeltaInvertsEpsilon) {
  const PrivacyEvent event =
      Repeated({PoissonSampledGaussianEvent{0.01, 0.9}}, 1000);
  auto accountant = PldAccountant::Create({});
  ASSERT_THAT(accountant->Compose(event), IsOk());
  for (double delta : {1e-3, 1e-6, 1e-9, 1e-14}) {
    const double epsilon = *accountant->Epsilon(delta);
    EXPECT_NEAR(std::log(*accountant->Delta(epsilon)) / std::log(delta), 1,
                1e-4);
  }
}

// Pitfall 6: deltas that 1e-16 a use would drown.
TEST(PldAccountantTest, ResolvesTinyDeltas) {
  const PrivacyEvent event =
      Repeated({PoissonSampledGaussianEvent{0.1, 5}}, 1000);
  double last = 0;
  for (double delta : {1e-9, 1e-12, 1e-15, 1e-20, 1e-40}) {
    const double epsilon = Epsilon(event, delta);
    EXPECT_GT(epsilon, last);
    EXPECT_LT(epsilon, RdpEpsilon(event, delta, Adjacency::kAddOrRemoveOne));
    last = epsilon;
  }
}

TEST(PldAccountantTest, NonPrivateIsInfinite) {
  EXPECT_EQ(
      Epsilon({ComposedEvent{{{GaussianEvent{1}}, {NonPrivateEvent{}}}, 1}},
              1e-6),
      kInfinity);
}

TEST(PldAccountantTest, RefusesBadOptionsDeltasAndEvents) {
  for (double bad : {0.0, -1.0, 2.0, kNan, kInfinity}) {
    EXPECT_THAT(PldAccountant::Create({.accuracy = bad}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("accuracy")));
  }
  for (double bad : {-1.0, 2.0, kNan, kInfinity}) {
    EXPECT_THAT(PldAccountant::Create({.grid_step = bad}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("grid step")));
  }
  auto accountant = PldAccountant::Create({});
  for (double bad : {0.0, -1.0, 1.0, kNan, kInfinity}) {
    EXPECT_THAT(accountant->Epsilon(bad),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("delta")));
  }
  EXPECT_THAT(accountant->Compose({ZcdpEvent{1, Adjacency::kAddOrRemoveOne}}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("by RDP")));
  EXPECT_THAT(accountant->Compose({GaussianEvent{-1}}),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(accountant->Epsilon(1e-6), IsOkAndHolds(0.0));
}

}  // namespace
}  // namespace mledge
