#include "mledge/privacy/accounting/privacy_event.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "mledge/tests/privacy/accounting/sample_events.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(ValidateEventTest, AcceptsOneOfEachKind) {
  for (const PrivacyEvent& event : OneOfEachKind()) {
    EXPECT_THAT(ValidateEvent(event), IsOk()) << EventName(event);
    EXPECT_THAT(ValidateEvent(Repeated(event, 7)), IsOk()) << EventName(event);
  }
}

// A real parameter of some kind of event, and an event in which it is `value`.
struct RealParameter {
  std::string kind;
  std::string name;
  std::function<PrivacyEvent(double value)> with;
};

std::vector<RealParameter> RealParameters() {
  return {
      {"Gaussian", "noise_multiplier",
       [](double v) { return PrivacyEvent{GaussianEvent{v}}; }},
      {"discrete Gaussian", "sigma",
       [](double v) {
         return PrivacyEvent{DiscreteGaussianEvent{v, 1, 1, 1}};
       }},
      {"discrete Gaussian", "l2_sensitivity",
       [](double v) {
         return PrivacyEvent{DiscreteGaussianEvent{4, v, 8, 64}};
       }},
      {"discrete Gaussian", "l1_sensitivity",
       [](double v) {
         return PrivacyEvent{DiscreteGaussianEvent{4, 2, v, 64}};
       }},
      {"Laplace", "noise_multiplier",
       [](double v) { return PrivacyEvent{LaplaceEvent{v}}; }},
      {"randomized response", "epsilon",
       [](double v) {
         return PrivacyEvent{RandomizedResponseEvent{v, 3}};
       }},
      {"Poisson-sampled Gaussian", "sampling_probability",
       [](double v) {
         return PrivacyEvent{PoissonSampledGaussianEvent{v, 1}};
       }},
      {"Poisson-sampled Gaussian", "noise_multiplier",
       [](double v) {
         return PrivacyEvent{PoissonSampledGaussianEvent{0.1, v}};
       }},
      {"Gaussian sampled without replacement", "noise_multiplier",
       [](double v) {
         return PrivacyEvent{
             SampledWithoutReplacementGaussianEvent{100, 10, v}};
       }},
      {"zCDP", "rho", [](double v) { return PrivacyEvent{ZcdpEvent{v}}; }},
      {"matrix mechanism", "noise_multiplier",
       [](double v) {
         return PrivacyEvent{MatrixMechanismEvent{v, 1, 10, 2, 5}};
       }},
      {"matrix mechanism", "sensitivity",
       [](double v) {
         return PrivacyEvent{MatrixMechanismEvent{1, v, 10, 2, 5}};
       }},
      {"distributed discrete Gaussian", "local_sigma",
       [](double v) {
         return PrivacyEvent{DistributedDiscreteGaussianEvent{v, 10, 4, 2, 3}};
       }},
      {"distributed discrete Gaussian", "l2_sensitivity",
       [](double v) {
         return PrivacyEvent{DistributedDiscreteGaussianEvent{3, 10, 4, v, 3}};
       }},
      {"distributed discrete Gaussian", "l1_sensitivity",
       [](double v) {
         return PrivacyEvent{DistributedDiscreteGaussianEvent{3, 10, 4, 2, v}};
       }},
      {"Skellam", "total_variance",
       [](double v) {
         return PrivacyEvent{SkellamEvent{v, 2, 3}};
       }},
      {"Skellam", "l2_sensitivity",
       [](double v) {
         return PrivacyEvent{SkellamEvent{100, v, 3}};
       }},
      {"Skellam", "l1_sensitivity",
       [](double v) {
         return PrivacyEvent{SkellamEvent{100, 2, v}};
       }},
  };
}

class BadRealTest : public ::testing::TestWithParam<double> {};

TEST_P(BadRealTest, IsRefusedByKindParameterAndDomain) {
  for (const RealParameter& parameter : RealParameters()) {
    EXPECT_THAT(
        ValidateEvent(parameter.with(GetParam())),
        StatusIs(StatusCode::kInvalidArgument,
                 AllOf(HasSubstr(parameter.kind + ": "),
                       HasSubstr(parameter.name), HasSubstr("it must be"))))
        << parameter.kind << ' ' << parameter.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Zero, BadRealTest, ::testing::Values(0.0, -0.0));
INSTANTIATE_TEST_SUITE_P(Negative, BadRealTest,
                         ::testing::Values(-1.0, -1e-300));
INSTANTIATE_TEST_SUITE_P(Nan, BadRealTest, ::testing::Values(kNan));
INSTANTIATE_TEST_SUITE_P(Infinite, BadRealTest,
                         ::testing::Values(kInfinity, -kInfinity));
INSTANTIATE_TEST_SUITE_P(AbsurdlyLarge, BadRealTest,
                         ::testing::Values(1e300,
                                           std::numeric_limits<double>::max()));

struct IntegerParameter {
  std::string name;
  std::function<PrivacyEvent(int64_t value)> with;
};

TEST(ValidateEventTest, RefusesBadIntegers) {
  const std::vector<IntegerParameter> parameters = {
      {"dimension",
       [](int64_t v) {
         return PrivacyEvent{DiscreteGaussianEvent{4, 2, 3, v}};
       }},
      {"categories",
       [](int64_t v) {
         return PrivacyEvent{RandomizedResponseEvent{1, v}};
       }},
      {"population",
       [](int64_t v) {
         return PrivacyEvent{SampledWithoutReplacementGaussianEvent{v, 1, 1}};
       }},
      {"cohort",
       [](int64_t v) {
         return PrivacyEvent{SampledWithoutReplacementGaussianEvent{100, v, 1}};
       }},
      {"rounds",
       [](int64_t v) {
         return PrivacyEvent{MatrixMechanismEvent{1, 1, v, 1, 1}};
       }},
      {"participations",
       [](int64_t v) {
         return PrivacyEvent{MatrixMechanismEvent{1, 1, 10, v, 5}};
       }},
      {"separation",
       [](int64_t v) {
         return PrivacyEvent{MatrixMechanismEvent{1, 1, 10, 1, v}};
       }},
      {"honest_clients",
       [](int64_t v) {
         return PrivacyEvent{DistributedDiscreteGaussianEvent{3, v, 4, 2, 3}};
       }},
      {"count", [](int64_t v) { return Repeated({GaussianEvent{1}}, v); }},
  };
  for (const IntegerParameter& parameter : parameters) {
    for (int64_t value :
         {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::min(),
          std::numeric_limits<int64_t>::max()}) {
      EXPECT_THAT(
          ValidateEvent(parameter.with(value)),
          StatusIs(StatusCode::kInvalidArgument, HasSubstr(parameter.name)))
          << parameter.name << ' ' << value;
    }
  }
}

TEST(ValidateEventTest, RefusesMoreParticipationsThanFit) {
  EXPECT_THAT(ValidateEvent({MatrixMechanismEvent{1, 1, 11, 3, 5}}), IsOk());
  EXPECT_THAT(ValidateEvent({MatrixMechanismEvent{1, 1, 10, 3, 5}}),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("no more than fit into 10 rounds")));
}

TEST(ValidateEventTest, NamesTheLeastSigmaOfTheDistributedBound) {
  EXPECT_THAT(
      ValidateEvent({DistributedDiscreteGaussianEvent{0.49, 10, 4, 2, 3}}),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("from 0.5")));
}

TEST(ValidateEventTest, RefusesAnL1SensitivityBelowL2) {
  EXPECT_THAT(ValidateEvent({SkellamEvent{100, 3, 2}}),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("at least l2_sensitivity")));
}

TEST(ValidateEventTest, FindsTheBadEventInsideACompositionAndStopsNesting) {
  PrivacyEvent event = {
      ComposedEvent{{{GaussianEvent{1}}, {LaplaceEvent{-1}}}, 3}};
  EXPECT_THAT(ValidateEvent(event),
              StatusIs(StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("event 1 of a composition"),
                             HasSubstr("Laplace"))));
  PrivacyEvent nested = {GaussianEvent{1}};
  for (int i = 0; i < 20; ++i) nested = Repeated(std::move(nested), 2);
  EXPECT_THAT(ValidateEvent(nested),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("nesting")));
}

TEST(RandomizedResponseTest, TruthProbabilityAndEpsilonAgree) {
  for (int64_t k : {2, 3, 100}) {
    for (double p : {0.55, 0.9, 0.999}) {
      const auto event = RandomizedResponseFromTruthProbability(p, k);
      ASSERT_THAT(event, IsOk());
      const double e = std::exp(event->epsilon);
      EXPECT_NEAR(e / (e + static_cast<double>(k) - 1), p, 1e-12);
    }
  }
  for (double p : {0.0, -1.0, 0.25, 1.0, 1.5, kNan, kInfinity}) {
    EXPECT_THAT(
        RandomizedResponseFromTruthProbability(p, 4),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("truth_probability")))
        << p;
  }
  EXPECT_THAT(RandomizedResponseFromTruthProbability(0.9, 1),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("categories")));
}

TEST(CheckAdjacencyTest, RefusesByNameWhatNoTheoremCovers) {
  const PrivacyEvent poisson = {PoissonSampledGaussianEvent{0.1, 1}};
  EXPECT_THAT(CheckAdjacency(poisson, Adjacency::kAddOrRemoveOne), IsOk());
  EXPECT_THAT(CheckAdjacency(poisson, Adjacency::kZeroOut), IsOk());
  EXPECT_THAT(CheckAdjacency(poisson, Adjacency::kReplaceOne),
              StatusIs(StatusCode::kInvalidArgument,
                       "Poisson-sampled Gaussian: no guarantee for adjacency "
                       "replace-one; supported: add-or-remove, zero-out"));
  const PrivacyEvent fixed = {
      SampledWithoutReplacementGaussianEvent{100, 10, 1}};
  EXPECT_THAT(CheckAdjacency(fixed, Adjacency::kReplaceOne), IsOk());
  EXPECT_THAT(CheckAdjacency(fixed, Adjacency::kAddOrRemoveOne),
              StatusIs(StatusCode::kInvalidArgument));
  const PrivacyEvent matrix = {MatrixMechanismEvent{1, 1, 10, 2, 5}};
  EXPECT_THAT(CheckAdjacency(matrix, Adjacency::kZeroOut), IsOk());
  EXPECT_THAT(CheckAdjacency(matrix, Adjacency::kAddOrRemoveOne),
              StatusIs(StatusCode::kInvalidArgument));
  const PrivacyEvent skellam = {SkellamEvent{100, 2, 3}};
  EXPECT_THAT(CheckAdjacency(skellam, Adjacency::kZeroOut), IsOk());
  EXPECT_THAT(CheckAdjacency(skellam, Adjacency::kAddOrRemoveOne),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(CheckAdjacency({ZcdpEvent{1, Adjacency::kReplaceOne}},
                             Adjacency::kZeroOut),
              StatusIs(StatusCode::kInvalidArgument));
}

TEST(CheckAdjacencyTest, OfACompositionIsThatOfAllParts) {
  const PrivacyEvent both = {ComposedEvent{
      {{GaussianEvent{1}}, Repeated({PoissonSampledGaussianEvent{0.1, 1}}, 5)},
      2}};
  EXPECT_THAT(CheckAdjacency(both, Adjacency::kZeroOut), IsOk());
  EXPECT_THAT(CheckAdjacency(both, Adjacency::kReplaceOne),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("Poisson")));
}

TEST(CheckObserverTest, NoiseOfTheCoordinatorDoesNotProtectAgainstIt) {
  const std::vector<PrivacyEvent> against_recipients_only = {
      {GaussianEvent{1}},
      {DiscreteGaussianEvent{4, 2, 3, 64}},
      {LaplaceEvent{1}},
      {ZcdpEvent{1}},
      {MatrixMechanismEvent{1, 1, 10, 2, 5}},
      // Its amplification needs a cohort that the observer does not know.
      {PoissonSampledGaussianEvent{0.1, 1}},
      {SampledWithoutReplacementGaussianEvent{100, 10, 1}}};
  for (const PrivacyEvent& event : against_recipients_only) {
    EXPECT_THAT(CheckObserver(event, Observer::kModelRecipients), IsOk());
    EXPECT_THAT(CheckObserver(event, Observer::kCoordinator),
                StatusIs(StatusCode::kInvalidArgument,
                         HasSubstr("no guarantee for observer coordinator")))
        << EventName(event);
  }
  const std::vector<PrivacyEvent> against_both = {
      {GaussianEvent{1, NoiseOrigin::kDevice}},
      {RandomizedResponseEvent{1, 4}},
      {DistributedDiscreteGaussianEvent{3, 10, 4, 2, 3}},
      {SkellamEvent{100, 2, 3}}};
  for (const PrivacyEvent& event : against_both) {
    EXPECT_THAT(CheckObserver(event, Observer::kModelRecipients), IsOk());
    EXPECT_THAT(CheckObserver(event, Observer::kCoordinator), IsOk());
  }
}

TEST(NamesTest, AreReadBack) {
  for (Adjacency adjacency : {Adjacency::kAddOrRemoveOne,
                              Adjacency::kReplaceOne, Adjacency::kZeroOut}) {
    EXPECT_THAT(ParseAdjacency(AdjacencyName(adjacency)),
                IsOkAndHolds(adjacency));
  }
  for (Observer observer :
       {Observer::kModelRecipients, Observer::kCoordinator}) {
    EXPECT_THAT(ParseObserver(ObserverName(observer)), IsOkAndHolds(observer));
  }
  EXPECT_THAT(ParseAdjacency("add"), StatusIs(StatusCode::kInvalidArgument,
                                              HasSubstr("add-or-remove")));
  EXPECT_THAT(ParseObserver(""), StatusIs(StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace mledge
