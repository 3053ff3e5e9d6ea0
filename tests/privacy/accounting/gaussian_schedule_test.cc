#include "mledge/privacy/accounting/gaussian_schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

TEST(EventOfScheduleTest, SaysWhatHappens) {
  EXPECT_THAT(
      EventOfSchedule(
          {.noise_multiplier = 1, .sampling_probability = 0.1, .steps = 20}),
      IsOkAndHolds(Repeated({PoissonSampledGaussianEvent{0.1, 1}}, 20)));
  EXPECT_THAT(EventOfSchedule({.sampling = Sampling::kWithoutReplacement,
                               .noise_multiplier = 1,
                               .sampling_probability = 0.07,
                               .steps = 20,
                               .population = 300}),
              IsOkAndHolds(Repeated(
                  {SampledWithoutReplacementGaussianEvent{300, 21, 1}}, 20)));
}

TEST(EventOfScheduleTest, WithoutSamplingParticipationsCount) {
  const GaussianSchedule base = {
      .sampling = Sampling::kNone, .noise_multiplier = 3, .steps = 100};
  const auto uses = [](const GaussianSchedule& schedule) {
    const auto event = EventOfSchedule(schedule);
    EXPECT_THAT(event, IsOk());
    return std::get<ComposedEvent>(event->kind).count;
  };
  EXPECT_EQ(uses(base), 100);
  GaussianSchedule some = base;
  some.participations = 7;
  EXPECT_EQ(uses(some), 7);
  GaussianSchedule separated = base;
  separated.separation = 33;
  EXPECT_EQ(uses(separated), 4);  // rounds 0, 33, 66, 99
  separated.separation = 34;
  EXPECT_EQ(uses(separated), 3);
  separated.participations = 4;
  EXPECT_THAT(
      EventOfSchedule(separated),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("3 fit into 100")));
}

TEST(EventOfScheduleTest, RefusesBadValuesByName) {
  const GaussianSchedule good = {
      .noise_multiplier = 1, .sampling_probability = 0.1, .steps = 20};
  const auto refused = [](const GaussianSchedule& schedule, const char* named) {
    EXPECT_THAT(EventOfSchedule(schedule),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(named)));
  };
  for (int64_t bad :
       {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
    GaussianSchedule schedule = good;
    schedule.steps = bad;
    refused(schedule, "steps");
  }
  for (double bad : {0.0, -0.1, 1.1, std::numeric_limits<double>::quiet_NaN(),
                     std::numeric_limits<double>::infinity()}) {
    GaussianSchedule schedule = good;
    schedule.sampling_probability = bad;
    refused(schedule, "sampling_probability");
  }
  for (int64_t bad : {int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
    GaussianSchedule schedule = good;
    schedule.population = bad;
    refused(schedule, "population");
    schedule = good;
    schedule.participations = bad;
    refused(schedule, "participations");
    schedule = good;
    schedule.separation = bad;
    refused(schedule, "separation");
  }
}

TEST(SamplingTest, NamesAreReadBack) {
  for (Sampling sampling :
       {Sampling::kPoisson, Sampling::kWithoutReplacement, Sampling::kNone}) {
    EXPECT_THAT(ParseSampling(SamplingName(sampling)), IsOkAndHolds(sampling));
  }
  EXPECT_THAT(ParseSampling("uniform"), StatusIs(StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace mledge
