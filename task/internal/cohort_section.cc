#include <cmath>
#include <cstdint>

#include "mledge/core/strings.h"
#include "mledge/task/internal/task_sections.h"

namespace mledge::task_internal {
namespace {

bool ValidateSize(const v1::Cohort& cohort, Problems* problems) {
  return problems->Require(
      cohort.size() >= 1 && cohort.size() <= kLargestCohort, "cohort.size",
      StrCat("is ", cohort.size(),
             "; write how many updates a round wants (1 to ", kLargestCohort,
             ")"));
}

void ValidateFixedSize(v1::Cohort* cohort, Problems* problems) {
  const bool has_size = ValidateSize(*cohort, problems);
  if (cohort->minimum() == 0) cohort->set_minimum(cohort->size());
  problems->Require(
      !has_size ||
          (cohort->minimum() >= 1 && cohort->minimum() <= cohort->size()),
      "cohort.minimum",
      StrCat("is ", cohort->minimum(), "; write 1 to cohort.size, which is ",
             cohort->size()));
  if (!cohort->has_over_selection()) cohort->set_over_selection(1);
  const bool has_over_selection = problems->Require(
      cohort->over_selection() >= 1 && cohort->over_selection() <= 100,
      "cohort.over_selection",
      StrCat("is ", cohort->over_selection(), "; write 1 to 100, such as 1.3"));
  if (!cohort->has_deadline()) cohort->mutable_deadline()->set_seconds(600);
  problems->RequirePositive("cohort.deadline", InSeconds(cohort->deadline()),
                            "10m");
  cohort->mutable_minimum_interval();
  problems->RequireNotNegative("cohort.minimum_interval",
                               InSeconds(cohort->minimum_interval()));
  if (!has_size || !has_over_selection) return;
  const auto assigned = static_cast<int64_t>(std::ceil(
      static_cast<double>(cohort->size()) * cohort->over_selection()));
  if (cohort->minimum_waiting() == 0) cohort->set_minimum_waiting(assigned);
  problems->Require(
      cohort->minimum_waiting() >= assigned, "cohort.minimum_waiting",
      StrCat("is ", cohort->minimum_waiting(), "; a round assigns ", assigned,
             " devices (size · over_selection): write that or "
             "more"));
}

// Whatever would make the sample another one than independent coins over the
// roster is refused here: accounting knows no such sample.
void ValidatePoisson(const v1::Task& task, v1::Cohort* cohort,
                     Problems* problems) {
  problems->Require(
      task.privacy().mechanism() == v1::Privacy::CENTRAL, "cohort.selection",
      "is poisson, which is accounted for with `privacy: {mechanism: central}` "
      "only; write that, or leave the selection out");
  problems->Require(
      task.secure_aggregation().mode() == v1::SecureAggregation::OFF,
      "cohort.selection",
      "is poisson, and secure aggregation is on: its sessions have deadlines "
      "and a least number of devices, so that the sum is not that of a Poisson "
      "sample. Write `secure_aggregation: {mode: off}`, or leave the selection "
      "out");
  const bool has_size = ValidateSize(*cohort, problems);
  problems->Require(
      cohort->minimum() == 0, "cohort.minimum",
      StrCat("is ", cohort->minimum(),
             "; with `selection: poisson` every round counts, also an empty "
             "one: leave it out"));
  if (!cohort->has_over_selection()) cohort->set_over_selection(1);
  problems->Require(
      cohort->over_selection() == 1, "cohort.over_selection",
      StrCat("is ", cohort->over_selection(),
             "; with `selection: poisson` nobody is left out: leave it out"));
  problems->Require(
      !cohort->has_deadline(), "cohort.deadline",
      "goes with `selection: fixed_size` only: a Poisson sample waits for "
      "everybody who was drawn. Leave it out");
  cohort->mutable_minimum_interval();
  problems->Require(
      InSeconds(cohort->minimum_interval()) == 0, "cohort.minimum_interval",
      "goes with `selection: fixed_size` only: a device that rests could not "
      "be drawn. Leave it out");
  const int64_t devices = task.simulation().devices();
  const int64_t population = task.privacy().population_size();
  if (cohort->minimum_waiting() == 0) {
    cohort->set_minimum_waiting(devices > 0 ? devices : population);
  }
  problems->Require(
      !has_size || cohort->minimum_waiting() >= cohort->size(),
      "cohort.minimum_waiting",
      StrCat("is ", cohort->minimum_waiting(),
             "; with `selection: poisson` it is the roster, of which "
             "cohort.size (",
             cohort->size(), ") are drawn on average: write its size"));
  problems->Require(
      devices == 0 || cohort->minimum_waiting() == devices,
      "cohort.minimum_waiting",
      StrCat("is ", cohort->minimum_waiting(),
             "; with `selection: poisson` it is the roster, and that is all "
             "simulation.devices (",
             devices, "): leave it out"));
  problems->Require(
      population == 0 || cohort->minimum_waiting() <= population,
      "cohort.minimum_waiting",
      StrCat("is ", cohort->minimum_waiting(),
             "; with `selection: poisson` it is the roster, and "
             "privacy.population_size (",
             population, ") is all that there are: write at most that"));
  problems->Require(
      population == 0 || task.simulation().noise_cohort() <= population,
      "simulation.noise_cohort",
      StrCat("is ", task.simulation().noise_cohort(),
             "; with `selection: poisson` it is drawn from "
             "privacy.population_size, which is ",
             population, ": write at most that"));
}

}  // namespace

void ValidateCohort(v1::Task* task, Problems* problems) {
  v1::Cohort* cohort = task->mutable_cohort();
  if (cohort->selection() == v1::Cohort::POISSON) {
    ValidatePoisson(*task, cohort, problems);
  } else {
    ValidateFixedSize(cohort, problems);
  }
}

}  // namespace mledge::task_internal
