#include "mledge/privacy/accounting/gaussian_schedule.h"

#include <cmath>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr int64_t kMostSteps = 1'000'000'000;

absl::Status Refuse(std::string_view what, std::string_view must) {
  return absl::InvalidArgumentError(StrCat("schedule: ", what, "; ", must));
}

absl::Status CheckNumbers(const GaussianSchedule& schedule) {
  if (schedule.steps < 1 || schedule.steps > kMostSteps) {
    return Refuse(StrCat("steps is ", schedule.steps),
                  StrCat("it must be from 1 to ", kMostSteps));
  }
  if (!(schedule.sampling_probability > 0 &&
        schedule.sampling_probability <= 1)) {
    return Refuse(
        StrCat("sampling_probability is ", schedule.sampling_probability),
        "it must be greater than 0 and at most 1");
  }
  if (schedule.population < 0 || schedule.population > kMostAccountedDevices) {
    return Refuse(StrCat("population is ", schedule.population),
                  StrCat("it must be from 1 to ", kMostAccountedDevices));
  }
  if (schedule.participations < 0 || schedule.participations > schedule.steps) {
    return Refuse(
        StrCat("participations is ", schedule.participations),
        StrCat("it must be from 1 to the number of steps, ", schedule.steps));
  }
  if (schedule.separation < 0 || schedule.separation > kMostSteps) {
    return Refuse(StrCat("separation is ", schedule.separation),
                  StrCat("it must be from 1 to ", kMostSteps));
  }
  if (schedule.sampling != Sampling::kNone &&
      (schedule.participations > 0 || schedule.separation > 0)) {
    return Refuse(
        StrCat("participations and separation do not go with sampling ",
               SamplingName(schedule.sampling)),
        "use sampling none, which does not count on chance");
  }
  return absl::OkStatus();
}

absl::StatusOr<PrivacyEvent> WithoutReplacement(
    const GaussianSchedule& schedule) {
  if (schedule.population == 0) {
    return Refuse("sampling without replacement needs a population",
                  "say how many devices there are");
  }
  const double cohort =
      schedule.sampling_probability * static_cast<double>(schedule.population);
  const double whole = std::round(cohort);
  if (whole < 1 || std::abs(cohort - whole) > 1e-6 * whole) {
    return Refuse(StrCat("sampling_probability ", schedule.sampling_probability,
                         " of a population of ", schedule.population, " is ",
                         cohort, " devices"),
                  "a sample without replacement has a whole number of them");
  }
  return Repeated({SampledWithoutReplacementGaussianEvent{
                      .population = schedule.population,
                      .cohort = static_cast<int64_t>(whole),
                      .noise_multiplier = schedule.noise_multiplier}},
                  schedule.steps);
}

absl::StatusOr<PrivacyEvent> Enforced(const GaussianSchedule& schedule) {
  if (schedule.sampling_probability != 1) {
    return Refuse(StrCat("sampling_probability ", schedule.sampling_probability,
                         " does not go with sampling none"),
                  "leave it out: without proven sampling nothing is amplified");
  }
  int64_t most = schedule.steps;
  if (schedule.separation > 0) {
    most = (schedule.steps - 1) / schedule.separation + 1;
  }
  if (schedule.participations > most) {
    return Refuse(StrCat("participations is ", schedule.participations),
                  StrCat(most, " fit into ", schedule.steps,
                         " steps at a separation of ", schedule.separation));
  }
  return Repeated(
      {GaussianEvent{.noise_multiplier = schedule.noise_multiplier}},
      schedule.participations > 0 ? schedule.participations : most);
}

}  // namespace

absl::StatusOr<PrivacyEvent> EventOfSchedule(const GaussianSchedule& schedule) {
  MLEDGE_RETURN_IF_ERROR(CheckNumbers(schedule));
  switch (schedule.sampling) {
    case Sampling::kPoisson:
      return Repeated({PoissonSampledGaussianEvent{
                          .sampling_probability = schedule.sampling_probability,
                          .noise_multiplier = schedule.noise_multiplier}},
                      schedule.steps);
    case Sampling::kWithoutReplacement:
      return WithoutReplacement(schedule);
    case Sampling::kNone:
      return Enforced(schedule);
  }
  return absl::InternalError("a sampling without a name");
}

Adjacency UsualAdjacency(Sampling sampling) {
  switch (sampling) {
    case Sampling::kPoisson:
      return Adjacency::kAddOrRemoveOne;
    case Sampling::kWithoutReplacement:
      return Adjacency::kReplaceOne;
    case Sampling::kNone:
      return Adjacency::kZeroOut;
  }
  return Adjacency::kReplaceOne;
}

std::string_view SamplingName(Sampling sampling) {
  switch (sampling) {
    case Sampling::kPoisson:
      return "poisson";
    case Sampling::kWithoutReplacement:
      return "without-replacement";
    case Sampling::kNone:
      return "none";
  }
  return "unknown";
}

absl::StatusOr<Sampling> ParseSampling(std::string_view name) {
  for (Sampling sampling :
       {Sampling::kPoisson, Sampling::kWithoutReplacement, Sampling::kNone}) {
    if (name == SamplingName(sampling)) return sampling;
  }
  return absl::InvalidArgumentError(
      StrCat("sampling \"", name,
             "\": it must be poisson, without-replacement or none"));
}

}  // namespace mledge
