#include "mledge/privacy/accounting/rdp_filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "mledge/privacy/accounting/rdp_accountant.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

const PrivacyEvent kRound = {GaussianEvent{.noise_multiplier = 10}};

TEST(RdpFilterTest, SpendsToItsBudgetAndNotBeyond) {
  auto filter = RdpFilter::Create({.epsilon = 8, .delta = 1e-6});
  ASSERT_THAT(filter, IsOk());
  const int64_t uses = *filter->RemainingUses(kRound);
  EXPECT_GT(uses, 100);
  for (int64_t i = 0; i < uses; ++i) {
    ASSERT_THAT(filter->WouldExceed(kRound), IsOkAndHolds(false));
    ASSERT_THAT(filter->Charge(kRound), IsOk()) << i;
  }
  EXPECT_THAT(filter->WouldExceed(kRound), IsOkAndHolds(true));
  const double share = filter->RemainingShare();
  EXPECT_THAT(filter->Charge(kRound), StatusIs(StatusCode::kResourceExhausted,
                                               HasSubstr("0 times would fit")));
  EXPECT_EQ(filter->RemainingShare(), share);
  EXPECT_LE(share, 1.0 / static_cast<double>(uses));
  EXPECT_THAT(filter->RemainingUses(kRound), IsOkAndHolds(0));
}

// What was charged, had it been fixed before, costs at most the budget: the
// filter never promises less than an accountant would find.
TEST(RdpFilterTest, WhatFitsCostsAtMostTheBudget) {
  for (double epsilon : {0.5, 2.0, 8.0}) {
    for (const PrivacyEvent& event :
         std::vector<PrivacyEvent>{{GaussianEvent{30}},
                                   {DiscreteGaussianEvent{400, 10, 100, 1000}},
                                   {SkellamEvent{1e6, 10, 100}},
                                   {LaplaceEvent{40}}}) {
      auto filter = RdpFilter::Create(
          {.epsilon = epsilon, .delta = 1e-7, .typical = event});
      ASSERT_THAT(filter, IsOk());
      const int64_t uses = *filter->RemainingUses(event);
      ASSERT_GT(uses, 0);
      auto accountant =
          RdpAccountant::Create({.adjacency = Adjacency::kZeroOut});
      ASSERT_THAT(accountant->Compose(event, uses), IsOk());
      EXPECT_LE(*accountant->Epsilon(1e-7), epsilon) << EventName(event);
      // The price of one fixed order is small.
      auto more = RdpAccountant::Create({.adjacency = Adjacency::kZeroOut});
      ASSERT_THAT(more->Compose(event, 2 * uses), IsOk());
      EXPECT_GT(*more->Epsilon(1e-7), epsilon) << EventName(event);
    }
  }
}

TEST(RdpFilterTest, MixedEventsShareOneBudget) {
  auto filter = RdpFilter::Create({.epsilon = 4, .delta = 1e-6});
  ASSERT_THAT(filter->Charge({GaussianEvent{5}}, 4), IsOk());
  ASSERT_THAT(filter->Charge({ComposedEvent{{kRound, {LaplaceEvent{50}}}, 3}}),
              IsOk());
  auto accountant = RdpAccountant::Create({.adjacency = Adjacency::kZeroOut});
  ASSERT_THAT(accountant->Compose({GaussianEvent{5}}, 4), IsOk());
  ASSERT_THAT(
      accountant->Compose({ComposedEvent{{kRound, {LaplaceEvent{50}}}, 3}}),
      IsOk());
  EXPECT_LE(*accountant->Epsilon(1e-6), 4);
  EXPECT_NEAR(filter->RemainingShare(), 1 - filter->spent() / filter->budget(),
              1e-15);
}

TEST(RdpFilterTest, ReplayingALedgerRestoresIt) {
  auto filter = RdpFilter::Create({.epsilon = 4, .delta = 1e-6});
  auto restored = RdpFilter::Create({.epsilon = 4, .delta = 1e-6});
  for (int i = 0; i < 20; ++i) ASSERT_THAT(filter->Charge(kRound), IsOk());
  for (int i = 0; i < 20; ++i) ASSERT_THAT(restored->Charge(kRound), IsOk());
  EXPECT_EQ(filter->spent(), restored->spent());
}

TEST(RdpFilterTest, ANonPrivateEventNeverFits) {
  auto filter = RdpFilter::Create({.epsilon = 1e6, .delta = 1e-6});
  EXPECT_THAT(filter->WouldExceed({NonPrivateEvent{}}), IsOkAndHolds(true));
  EXPECT_THAT(filter->Charge({NonPrivateEvent{}}),
              StatusIs(StatusCode::kResourceExhausted));
  EXPECT_EQ(filter->spent(), 0);
}

TEST(RdpFilterTest, ChoosesTheOrderForWhatIsTypical) {
  const PrivacyEvent sampled = {PoissonSampledGaussianEvent{0.01, 1}};
  auto general = RdpFilter::Create({.epsilon = 4, .delta = 1e-6});
  auto meant =
      RdpFilter::Create({.epsilon = 4, .delta = 1e-6, .typical = sampled});
  EXPECT_GE(*meant->RemainingUses(sampled), *general->RemainingUses(sampled));
}

TEST(RdpFilterTest, RefusesBadBudgets) {
  for (double bad : {0.0, -1.0, kNan, kInfinity, 1e300}) {
    EXPECT_THAT(RdpFilter::Create({.epsilon = bad, .delta = 1e-6}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("epsilon")))
        << bad;
  }
  for (double bad : {0.0, -1.0, 1.0, kNan, kInfinity}) {
    EXPECT_THAT(RdpFilter::Create({.epsilon = 1, .delta = bad}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("delta")));
  }
  EXPECT_THAT(
      RdpFilter::Create(
          {.epsilon = 1, .delta = 1e-6, .typical = {NonPrivateEvent{}}}),
      StatusIs(StatusCode::kFailedPrecondition));
  auto filter = RdpFilter::Create({.epsilon = 1, .delta = 1e-6});
  EXPECT_THAT(filter->Charge(kRound, 0),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("count")));
  EXPECT_THAT(filter->Charge({GaussianEvent{kNan}}),
              StatusIs(StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace mledge
