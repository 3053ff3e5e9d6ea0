#include "mledge/privacy/accounting/privacy_claim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "mledge/privacy/accounting/analytic_gaussian.h"
#include "mledge/tests/privacy/accounting/sample_events.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;

const AccountantOptions kZeroOut = {.adjacency = Adjacency::kZeroOut};

TEST(ClaimForTest, SaysAgainstWhomForWhatAndUnderWhich) {
  const auto claim =
      ClaimFor({GaussianEvent{2}}, 1e-6, Observer::kModelRecipients, kZeroOut);
  ASSERT_THAT(claim, IsOk());
  EXPECT_EQ(claim->epsilon, *GaussianEpsilon(2, 1e-6));
  EXPECT_EQ(claim->observer, Observer::kModelRecipients);
  EXPECT_EQ(claim->unit, "device");
  EXPECT_EQ(claim->adjacency, Adjacency::kZeroOut);
  EXPECT_EQ(claim->accountant, "pld");
  EXPECT_THAT(claim->assumptions, Contains(HasSubstr("coordinator draws")));
  EXPECT_THAT(claim->assumptions, Contains(HasSubstr("contributes zero")));
}

TEST(ClaimForTest, RefusesAnObserverWhoKnowsTheNoise) {
  EXPECT_THAT(
      ClaimFor({GaussianEvent{2}}, 1e-6, Observer::kCoordinator, kZeroOut),
      StatusIs(StatusCode::kInvalidArgument,
               HasSubstr("no guarantee for observer coordinator")));
  EXPECT_THAT(ClaimFor({GaussianEvent{2, NoiseOrigin::kDevice}}, 1e-6,
                       Observer::kCoordinator, kZeroOut),
              IsOk());
}

// Pitfalls 4 and 13: what Poisson accounting takes for granted is said.
TEST(ClaimForTest, PoissonSamplingNamesItsConditions) {
  const auto claim =
      ClaimFor(Repeated({PoissonSampledGaussianEvent{0.01, 1}}, 100), 1e-6,
               Observer::kModelRecipients, {});
  ASSERT_THAT(claim, IsOk());
  EXPECT_THAT(claim->assumptions, Contains(HasSubstr("secret coin")));
  EXPECT_THAT(claim->assumptions, Contains(HasSubstr("no cap")));
  EXPECT_THAT(claim->assumptions,
              Contains(HasSubstr("rounds that nobody joined are released")));
  EXPECT_THAT(claim->assumptions, Contains(HasSubstr("stays secret")));
  // A coordinator knows the cohort: amplification does not hold against it.
  EXPECT_THAT(ClaimFor({PoissonSampledGaussianEvent{0.01, 1}}, 1e-6,
                       Observer::kCoordinator, {}),
              StatusIs(StatusCode::kInvalidArgument));
}

TEST(AssumptionsOfTest, EveryKindSaysSomethingAndNothingTwice) {
  for (const PrivacyEvent& event : OneOfEachKind()) {
    const auto once = AssumptionsOf(event, Adjacency::kZeroOut, "user");
    EXPECT_GE(once.size(), 3u) << EventName(event);
    EXPECT_THAT(once, Contains(HasSubstr("one user")));
    EXPECT_EQ(AssumptionsOf(Repeated(Repeated(event, 2), 3),
                            Adjacency::kZeroOut, "user"),
              once);
  }
}

// Pitfall 14.
TEST(DeltaWarningTest, WarnsUnlessDeltaIsBelowOneOverThePopulation) {
  EXPECT_EQ(DeltaWarning(1e-7, 1e6), std::nullopt);
  EXPECT_THAT(DeltaWarning(1e-6, 1e6).value_or(""),
              HasSubstr("not below 1/population"));
  EXPECT_TRUE(DeltaWarning(1e-5, 1e6).has_value());
}

TEST(PrivacyClaimCodecTest, SurvivesTheRoundTrip) {
  const auto claim = ClaimFor({RandomizedResponseEvent{1, 4}}, 1e-6,
                              Observer::kCoordinator, kZeroOut, "report");
  ASSERT_THAT(claim, IsOk());
  EXPECT_THAT(DecodeClaim(EncodeClaim(*claim)), IsOkAndHolds(*claim));
}

TEST(PrivacyClaimCodecTest, RefusesAnEpsilonWithoutItsWords) {
  const auto claim =
      ClaimFor({GaussianEvent{1}}, 1e-6, Observer::kModelRecipients, kZeroOut);
  const v1::PrivacyClaim good = EncodeClaim(*claim);
  v1::PrivacyClaim bad = good;
  bad.clear_unit();
  EXPECT_THAT(DecodeClaim(bad),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("unit")));
  bad = good;
  bad.clear_observer();
  EXPECT_THAT(DecodeClaim(bad),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("observer")));
  bad = good;
  bad.clear_adjacency();
  EXPECT_THAT(DecodeClaim(bad), StatusIs(StatusCode::kFailedPrecondition,
                                         HasSubstr("adjacency")));
  bad = good;
  bad.set_epsilon(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(DecodeClaim(bad),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("epsilon")));
  bad = good;
  bad.set_delta(0);
  EXPECT_THAT(DecodeClaim(bad),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("delta")));
}

}  // namespace
}  // namespace mledge
