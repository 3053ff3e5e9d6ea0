#include "mledge/privacy/noise/randomized_response.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "mledge/privacy/accounting/accountant.h"
#include "mledge/tests/privacy/test_secret_random.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(RandomizedResponseTest, TellsTheTruthAsOftenAsTheFormula) {
  for (const int64_t k : {int64_t{2}, int64_t{3}, int64_t{1000},
                          RandomizedResponse::kMostCategories}) {
    for (const double epsilon : {0.001, 1.0, 5.0, 30.0}) {
      const auto response = RandomizedResponse::Create(k, epsilon);
      ASSERT_THAT(response, IsOk());
      const double others = static_cast<double>(k - 1);
      const double exact = std::exp(epsilon) / (std::exp(epsilon) + others);
      const double truth = response->truth_probability();
      EXPECT_LE(truth, exact);
      EXPECT_NEAR(truth / exact, 1, 2e-9);
      // No ratio above e^ε, in exact terms: truth over the least likely lie.
      if (truth < 1 - 1e-9) {
        const double least_lie =
            (1 - truth) * std::floor(std::ldexp(1 / others, 64)) * 0x1p-64;
        EXPECT_LE(truth / least_lie, std::exp(epsilon)) << k << " " << epsilon;
      }
    }
  }
}

// 2·10^5 reports of category 3 of 5 at ε = 1; each count within 6 standard
// deviations (a false alarm in 5·10^8 each).
TEST(RandomizedResponseTest, ReportsFollowTheProbabilitiesAndAreCorrected) {
  const auto response = RandomizedResponse::Create(5, 1);
  ASSERT_THAT(response, IsOk());
  TestSecretRandom random(11);
  constexpr int kReports = 200'000;
  std::vector<int64_t> counts(5);
  for (int i = 0; i < kReports; ++i) {
    const auto report = response->Report(3, random);
    ASSERT_THAT(report, IsOk());
    ++counts[static_cast<size_t>(*report)];
  }
  const double truth = response->truth_probability();
  for (size_t i = 0; i < 5; ++i) {
    const double p = i == 3 ? truth : (1 - truth) / 4;
    EXPECT_NEAR(static_cast<double>(counts[i]), kReports * p,
                6 * std::sqrt(kReports * p * (1 - p)))
        << i;
  }
  const auto estimates = response->EstimateCounts(counts);
  ASSERT_THAT(estimates, IsOk());
  const double other = (1 - truth) / 4;
  const double error = 6 * std::sqrt(kReports * 0.25) / (truth - other);
  EXPECT_NEAR((*estimates)[3], kReports, error);
  EXPECT_NEAR((*estimates)[0], 0, error);
}

// The event for the ledger is never below what the reports themselves tell: log
// of the truth over the likeliest lie.
TEST(RandomizedResponseTest, CostsWhatItsEventSays) {
  for (const int64_t k : {2, 5, 1000}) {
    const auto response = RandomizedResponse::Create(k, 1);
    ASSERT_THAT(response, IsOk());
    const double truth = response->truth_probability();
    const double told =
        std::log(truth * static_cast<double>(k - 1) / (1 - truth));
    const auto epsilon = EpsilonOf(
        PrivacyEvent{RandomizedResponseEvent{.epsilon = 1, .categories = k}},
        1e-12, {.adjacency = Adjacency::kReplaceOne});
    ASSERT_THAT(epsilon, IsOk());
    EXPECT_GE(*epsilon, told);
    EXPECT_NEAR(*epsilon, told, 1e-3);
  }
}

TEST(RandomizedResponseTest, RefusesBadInput) {
  for (const int64_t bad : {int64_t{-1}, int64_t{0}, int64_t{1},
                            RandomizedResponse::kMostCategories + 1}) {
    EXPECT_THAT(
        RandomizedResponse::Create(bad, 1),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("categories")));
  }
  for (const double bad : {0.0, -1.0, kNan, kInfinity, 31.0}) {
    EXPECT_THAT(RandomizedResponse::Create(3, bad),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("epsilon")));
  }
  const auto response = RandomizedResponse::Create(3, 1);
  TestSecretRandom random(1);
  for (const int64_t bad : {-1, 3}) {
    EXPECT_THAT(response->Report(bad, random),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("category")));
  }
  EXPECT_THAT(response->EstimateCounts(std::vector<int64_t>{1, 2}),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(response->EstimateCounts(std::vector<int64_t>{1, 2, -3}),
              StatusIs(StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace mledge
