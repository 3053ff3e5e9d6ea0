#include "mledge/privacy/accounting/rdp_accountant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "mledge/privacy/accounting/analytic_gaussian.h"
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
               RdpAccountant::Options options = {}) {
  auto accountant = RdpAccountant::Create(std::move(options));
  EXPECT_THAT(accountant, IsOk());
  EXPECT_THAT(accountant->Compose(event), IsOk());
  const auto epsilon = accountant->Epsilon(delta);
  EXPECT_THAT(epsilon, IsOk());
  return *epsilon;
}

// The first adjacency that `event` supports.
Adjacency AnAdjacencyOf(const PrivacyEvent& event) {
  for (Adjacency adjacency : {Adjacency::kZeroOut, Adjacency::kReplaceOne}) {
    if (CheckAdjacency(event, adjacency).ok()) return adjacency;
  }
  return Adjacency::kAddOrRemoveOne;
}

TEST(RdpAccountantTest, EqualsDpAccountingAtItsOrders) {
  const std::vector<ReferenceValue> values = ReferenceValues();
  ASSERT_GE(values.size(), 60u);
  for (const ReferenceValue& value : values) {
    EXPECT_NEAR(
        Epsilon(value.Event(), value.delta, {.orders = DpAccountingOrders()}) /
            value.rdp_epsilon,
        1, 1e-6)
        << value.Name();
  }
}

TEST(RdpAccountantTest, IsNeverAboveDpAccountingByDefault) {
  for (const ReferenceValue& value : ReferenceValues()) {
    EXPECT_LE(Epsilon(value.Event(), value.delta), value.rdp_epsilon)
        << value.Name();
  }
}

TEST(RdpAccountantTest, TheHeadlinePointAtDenseOrders) {
  const PrivacyEvent event =
      Repeated({PoissonSampledGaussianEvent{0.01, 1}}, 10000);
  EXPECT_NEAR(Epsilon(event, 1e-5, {.orders = DpAccountingOrders()}), 6.712757,
              1e-6);
  EXPECT_LE(Epsilon(event, 1e-5), 6.712300);
  EXPECT_GT(Epsilon(event, 1e-5), 6.7122);
}

// Pitfall 5: conversion and orders decide what is printed.
TEST(RdpAccountantTest, PrintsThePublishedRunOfDpFedAvg) {
  std::vector<double> integers;
  for (int order = 2; order <= 33; ++order) integers.push_back(order);
  EXPECT_NEAR(
      Epsilon(DpFedAvgRun(), 1e-9,
              {.orders = integers, .conversion = RdpConversion::kClassic}),
      4.634, 5e-4);
  EXPECT_NEAR(
      Epsilon(DpFedAvgRun(), 1e-9, {.conversion = RdpConversion::kClassic}),
      4.5919, 1e-4);
  EXPECT_NEAR(Epsilon(DpFedAvgRun(), 1e-9), 4.183, 5e-4);
}

TEST(RdpAccountantTest, OrdersThatStopEarlyOrStartLateLose) {
  const PrivacyEvent quiet =
      Repeated({PoissonSampledGaussianEvent{1e-4, 10}}, 100);
  std::vector<double> to_64;
  for (int order = 2; order <= 64; ++order) to_64.push_back(order);
  EXPECT_GT(Epsilon(quiet, 1e-9, {.orders = to_64}), 10 * Epsilon(quiet, 1e-9));
  const PrivacyEvent loud =
      Repeated({PoissonSampledGaussianEvent{0.5, 0.6}}, 100);
  EXPECT_GT(Epsilon(loud, 1e-9, {.orders = to_64}), Epsilon(loud, 1e-9));
}

// Pitfall 2: the multiplier is over the clip norm, also where a device is
// replaced and the sensitivity is twice that.
TEST(RdpAccountantTest, ReplaceOneDoublesTheSensitivity) {
  EXPECT_NEAR(
      Epsilon({GaussianEvent{2}}, 1e-5, {.adjacency = Adjacency::kReplaceOne}),
      4.377, 5e-4);
  EXPECT_NEAR(
      Epsilon({GaussianEvent{2}}, 1e-5, {.adjacency = Adjacency::kZeroOut}),
      *GaussianEpsilon(2, 1e-5), 1e-12);
}

// Pitfall 1, the bound of theorem 27: std 1.6 clip norms.
TEST(RdpAccountantTest, FixedSizeSamplingIsNotPoisson) {
  const PrivacyEvent event =
      Repeated({SampledWithoutReplacementGaussianEvent{10000, 100, 1.6}}, 500);
  EXPECT_NEAR(Epsilon(event, 1e-6, {.adjacency = Adjacency::kReplaceOne}), 4.58,
              5e-3);
}

// Pitfall 3: dp_accounting drops the count of some events.
TEST(RdpAccountantTest, ACountIsThatManySingleEventsForEveryKind) {
  for (const PrivacyEvent& event : OneOfEachKind()) {
    const RdpAccountant::Options options = {.adjacency = AnAdjacencyOf(event)};
    auto at_once = RdpAccountant::Create(options);
    auto nested = RdpAccountant::Create(options);
    auto singly = RdpAccountant::Create(options);
    ASSERT_THAT(at_once->Compose(event, 12), IsOk()) << EventName(event);
    ASSERT_THAT(nested->Compose(Repeated(Repeated(event, 3), 2), 2), IsOk());
    for (int i = 0; i < 12; ++i) ASSERT_THAT(singly->Compose(event), IsOk());
    auto once = RdpAccountant::Create(options);
    ASSERT_THAT(once->Compose(event), IsOk());
    const double epsilon = *at_once->Epsilon(1e-6);
    if (std::isinf(epsilon)) {
      EXPECT_TRUE(std::holds_alternative<NonPrivateEvent>(event.kind));
      EXPECT_EQ(*singly->Epsilon(1e-6), kInfinity);
      continue;
    }
    EXPECT_NEAR(*singly->Epsilon(1e-6) / epsilon, 1, 1e-9) << EventName(event);
    EXPECT_NEAR(*nested->Epsilon(1e-6) / epsilon, 1, 1e-9) << EventName(event);
    EXPECT_GT(epsilon, *once->Epsilon(1e-6)) << EventName(event);
    for (size_t i = 0; i < once->orders().size(); ++i) {
      const double single = once->divergences()[i];
      if (std::isinf(single)) continue;
      EXPECT_NEAR(at_once->divergences()[i] / (12 * single), 1, 1e-12);
    }
  }
}

TEST(RdpAccountantTest, CompositionDoesNotDependOnOrder) {
  const PrivacyEvent a = Repeated({PoissonSampledGaussianEvent{0.02, 1.1}}, 40);
  const PrivacyEvent b = {LaplaceEvent{5}};
  const PrivacyEvent c = Repeated({GaussianEvent{8}}, 3);
  EXPECT_DOUBLE_EQ(Epsilon({ComposedEvent{{a, b, c}, 2}}, 1e-6),
                   Epsilon({ComposedEvent{{c, a, b}, 2}}, 1e-6));
}

TEST(RdpAccountantTest, GaussiansAloneUseTheClosedForm) {
  const PrivacyEvent event = {
      ComposedEvent{{{GaussianEvent{3}}, {GaussianEvent{4}}}, 5}};
  const double multiplier = 1 / std::sqrt(5 * (1.0 / 9 + 1.0 / 16));
  EXPECT_DOUBLE_EQ(Epsilon(event, 1e-6), *GaussianEpsilon(multiplier, 1e-6));
  // Asked for by orders, it is RDP's, which is above.
  EXPECT_GT(Epsilon(event, 1e-6, {.orders = DpAccountingOrders()}),
            Epsilon(event, 1e-6));
  // zCDP alone does not say that it is a Gaussian.
  EXPECT_NEAR(
      Epsilon({ZcdpEvent{0.81}}, 1e-10, {.adjacency = Adjacency::kZeroOut}),
      8.922, 5e-4);
}

TEST(RdpAccountantTest, AMatrixMechanismIsOneGaussianForItsWholeSchedule) {
  const PrivacyEvent event = {MatrixMechanismEvent{.noise_multiplier = 4,
                                                   .sensitivity = 1.6,
                                                   .rounds = 2000,
                                                   .participations = 6,
                                                   .separation = 342}};
  EXPECT_DOUBLE_EQ(Epsilon(event, 1e-6, {.adjacency = Adjacency::kZeroOut}),
                   *GaussianEpsilon(4 / 1.6, 1e-6));
}

TEST(RdpAccountantTest, SkellamIsFoundAtIntegerOrders) {
  const PrivacyEvent event = Repeated({SkellamEvent{100000, 10, 100}}, 50);
  std::vector<double> integers;
  for (int order = 2; order <= 3000; ++order) integers.push_back(order);
  EXPECT_NEAR(
      Epsilon(event, 1e-5, {.adjacency = Adjacency::kZeroOut}) /
          Epsilon(event, 1e-5,
                  {.adjacency = Adjacency::kZeroOut, .orders = integers}),
      1, 1e-9);
}

// The figures of the reference page: DDGauss falls behind where the local scale
// is small and clients are many.
TEST(RdpAccountantTest, SmallLocalNoiseCostsTheDistributedDiscreteGaussian) {
  const auto both = [](double sigma) {
    const double l2 = std::sqrt(1e4) * sigma * 0.6;
    return std::pair(Epsilon({DistributedDiscreteGaussianEvent{sigma, 10000, 64,
                                                               l2, 8 * l2}},
                             1e-5, {.adjacency = Adjacency::kZeroOut}),
                     Epsilon({SkellamEvent{1e4 * sigma * sigma, l2, 8 * l2}},
                             1e-5, {.adjacency = Adjacency::kZeroOut}));
  };
  const auto [distributed_small, skellam_small] = both(0.9);
  EXPECT_GT(distributed_small, 1.1 * skellam_small);
  const auto [distributed, skellam] = both(1.2);
  EXPECT_NEAR(distributed / skellam, 1, 0.02);
}

TEST(RdpAccountantTest, NothingComposedCostsNothing) {
  auto accountant = RdpAccountant::Create({});
  EXPECT_THAT(accountant->Epsilon(1e-6), IsOkAndHolds(0.0));
  EXPECT_THAT(accountant->Delta(1), IsOkAndHolds(0.0));
}

TEST(RdpAccountantTest, EpsilonAndDeltaAreMonotoneAndInvert) {
  const PrivacyEvent event =
      Repeated({PoissonSampledGaussianEvent{0.01, 0.9}}, 1000);
  auto accountant = RdpAccountant::Create({});
  ASSERT_THAT(accountant->Compose(event), IsOk());
  double last = kInfinity;
  for (double delta : {1e-12, 1e-9, 1e-6, 1e-3, 0.5}) {
    const double epsilon = *accountant->Epsilon(delta);
    EXPECT_LT(epsilon, last);
    last = epsilon;
    if (epsilon > 0) {
      EXPECT_NEAR(std::log(*accountant->Delta(epsilon)) / std::log(delta), 1,
                  1e-4);
    }
  }
}

TEST(RdpAccountantTest, RefusesBadOrders) {
  for (double bad : {0.0, 1.0, -2.0, kNan, kInfinity, 1e9}) {
    EXPECT_THAT(RdpAccountant::Create({.orders = {2, bad}}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("order")))
        << bad;
  }
}

TEST(ParseOrdersTest, ReadsNumbersAndRanges) {
  EXPECT_THAT(ParseOrders("2..5,1.5,64"),
              IsOkAndHolds(std::vector<double>{2, 3, 4, 5, 1.5, 64}));
  for (const char* bad : {"", ",", "two", "2..", "..3", "5..2", "1.5..3",
                          "2..2000000", "1", "0..4", "nan", "inf", "2;3"}) {
    EXPECT_THAT(ParseOrders(bad),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("order")))
        << bad;
  }
}

TEST(RdpAccountantTest, RefusesBadCountsAndDeltas) {
  auto accountant = RdpAccountant::Create({});
  for (int64_t bad :
       {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
    EXPECT_THAT(accountant->Compose({GaussianEvent{1}}, bad),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("count")));
  }
  for (double bad : {0.0, -1.0, 1.0, kNan, kInfinity}) {
    EXPECT_THAT(accountant->Epsilon(bad),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("delta")));
  }
  EXPECT_THAT(accountant->Delta(-1), StatusIs(StatusCode::kInvalidArgument));
}

TEST(RdpAccountantTest, ARefusedEventLeavesNothingBehind) {
  auto accountant = RdpAccountant::Create({});
  const PrivacyEvent bad = {
      ComposedEvent{{{GaussianEvent{1}}, {LaplaceEvent{-1}}}, 1}};
  EXPECT_THAT(accountant->Compose(bad), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(accountant->Compose({MatrixMechanismEvent{1, 1, 1, 1, 1}}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("adjacency")));
  EXPECT_THAT(accountant->Epsilon(1e-6), IsOkAndHolds(0.0));
}

TEST(RdpAccountantTest, CountsThatMultiplyBeyondReasonAreRefused) {
  PrivacyEvent event = {GaussianEvent{1e6}};
  for (int i = 0; i < 3; ++i) event = Repeated(event, 1'000'000'000);
  auto accountant = RdpAccountant::Create({});
  EXPECT_THAT(accountant->Compose(event),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("multiply")));
}

}  // namespace
}  // namespace mledge
