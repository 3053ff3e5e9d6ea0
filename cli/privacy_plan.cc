#include <cmath>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "mledge/aggregation/secagg/hadamard.h"
#include "mledge/cli/privacy_verbs.h"
#include "mledge/cli/task_model.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/accounting/event_codec.h"
#include "mledge/privacy/plan/private_task.h"
#include "mledge/task/task_file.h"
#include "nlohmann/json.hpp"

// `mledge privacy plan`: what a task's privacy section comes to, before anybody
// trains.

namespace mledge {
namespace {

struct PlanOptions {
  std::string task_file;
  std::vector<std::string> overrides;
  bool json = false;
};

// One size of cohort that the plan is shown for.
struct Column {
  std::string name;
  v1::Task task;
  PrivateTask plan;
};

std::vector<v1::PrivacyClaim> AllClaims(const PrivateTask& plan) {
  std::vector<v1::PrivacyClaim> all;
  for (const Observer observer :
       {Observer::kModelRecipients, Observer::kCoordinator}) {
    absl::StatusOr<std::vector<v1::PrivacyClaim>> claims =
        ClaimsOf(plan, observer, plan.limits.participations);
    if (!claims.ok()) continue;
    for (v1::PrivacyClaim& claim : *claims) all.push_back(std::move(claim));
  }
  return all;
}

absl::StatusOr<Column> MakeColumn(std::string name, v1::Task task,
                                  const ParameterLayout& layout,
                                  int64_t noise_cohort) {
  MLEDGE_ASSIGN_OR_RETURN(
      const int64_t rotated_size,
      secagg::HadamardRotation::PaddedSize(layout.shared_size()));
  Column column = {.name = std::move(name), .task = std::move(task)};
  MLEDGE_ASSIGN_OR_RETURN(column.plan,
                          ResolvePrivateTask(column.task, layout,
                                             {.rotated_size = rotated_size,
                                              .noise_cohort = noise_cohort}));
  return column;
}

int64_t LeastPresent(const Column& column) {
  return column.plan.device_noise.has_value()
             ? std::min(column.task.cohort().minimum(),
                        column.plan.honest_updates)
             : column.task.cohort().minimum();
}

// Of this column's coins; 0: no Poisson sample.
double SamplingProbability(const Column& column) {
  const v1::Cohort& cohort = column.task.cohort();
  if (cohort.selection() != v1::Cohort::POISSON) return 0;
  return static_cast<double>(cohort.size()) /
         static_cast<double>(cohort.minimum_waiting());
}

nlohmann::ordered_json ToJson(const Column& column) {
  const PrivateTask& plan = column.plan;
  nlohmann::ordered_json claims = nlohmann::ordered_json::array();
  for (const v1::PrivacyClaim& claim : AllClaims(plan)) {
    claims.push_back(
        {{"epsilon", claim.epsilon()},
         {"delta", claim.delta()},
         {"accountant", claim.accountant()},
         {"observer", ObserverText(claim)},
         {"adjacency", "zero-out"},
         {"unit", claim.unit()},
         {"assumptions", std::vector<std::string>(claim.assumptions().begin(),
                                                  claim.assumptions().end())}});
  }
  return {
      {"name", column.name},
      {"cohort", column.task.cohort().size()},
      {"noise_multiplier", plan.noise_multiplier},
      {"noise_on_mean", NoiseOnMean(plan, column.task.cohort().size())},
      {"honest_updates", plan.honest_updates},
      {"fraction_bits", plan.fraction_bits},
      {"l2_sensitivity", std::ldexp(plan.l2_sensitivity, -plan.fraction_bits)},
      {"dimension", plan.dimension},
      {"modulus_bits", plan.modulus_bits.value_or(0)},
      {"wrap_probability", plan.wrap_probability},
      {"sampling_probability", SamplingProbability(column)},
      {"claims", std::move(claims)}};
}

void PrintColumn(const Column& column) {
  const PrivateTask& plan = column.plan;
  const int64_t cohort = column.task.cohort().size();
  const double clip = plan.clip_norm;
  std::cout << absl::StrFormat("\n%s: %d devices a round\n", column.name,
                               cohort);
  const double each = NoiseOnMean(plan, cohort);
  const double norm = each * std::sqrt(static_cast<double>(plan.dimension));
  std::cout << absl::StrFormat(
      "  noise multiplier %.4g (standard deviation of the noise on the sum, "
      "that is counted on, over the clip norm)\n"
      "  noise on the mean of a round: %.3g a parameter, norm %.3g, beside the "
      "clip norm of %g\n",
      plan.noise_multiplier, each * clip, norm * clip, clip);
  std::cout << absl::StrFormat(
      "  grid of 2^-%d of the clip norm; rounding lengthens an update by up to "
      "%.2g %%\n",
      plan.fraction_bits,
      100 * (std::ldexp(plan.l2_sensitivity, -plan.fraction_bits) - 1));
  if (plan.modulus_bits.has_value()) {
    std::cout << absl::StrFormat(
        "  sums modulo 2^%d; that any coordinate wraps: %.2g a round\n",
        *plan.modulus_bits, plan.wrap_probability);
  }
  for (const ClippedLayer& layer : plan.layers) {
    std::cout << absl::StrFormat("  layer %s is clipped to %g\n", layer.name,
                                 layer.clip_norm);
  }
  if (plan.sampling_probability.has_value()) {
    std::cout << absl::StrFormat(
        "  a Poisson sample: each of %d devices with probability %.4g, %d on "
        "average; a round in simulations only, which coordinators and devices "
        "refuse\n",
        column.task.cohort().minimum_waiting(), SamplingProbability(column),
        cohort);
  } else {
    const int64_t least = LeastPresent(column);
    std::cout << absl::StrFormat(
        "  with %d of %d devices left, the mean is %.3g of what it would be "
        "(the divisor is fixed), and its noise %.3g of the above\n",
        least, cohort, static_cast<double>(least) / static_cast<double>(cohort),
        NoiseOnMean(plan, least) / each);
  }
  if (plan.mechanism == v1::Privacy::DISTRIBUTED) {
    std::cout << absl::StrFormat(
        "  noise is sized for %d honest devices that stay, of at most %d in "
        "one sum\n",
        plan.honest_updates, plan.updates);
  }
  for (const v1::PrivacyClaim& claim : AllClaims(plan)) {
    std::cout << absl::StrFormat(
        "  epsilon %.4g at delta %g against %s, by %s\n", claim.epsilon(),
        claim.delta(), ObserverText(claim), claim.accountant());
  }
}

absl::Status Plan(const PlanOptions& options) {
  MLEDGE_ASSIGN_OR_RETURN(const v1::Task task,
                          LoadTaskFile(options.task_file, options.overrides));
  if (task.privacy().mechanism() == v1::Privacy::NONE) {
    return absl::FailedPreconditionError(
        StrCat(options.task_file,
               " has no section `privacy`, so nothing is promised; see "
               "docs/privacy_accounting.md for what to write"));
  }
  MLEDGE_ASSIGN_OR_RETURN(const ModelPackage package, OpenTaskModel(task));
  std::vector<Column> columns;
  const bool stands_for_more =
      task.simulation().noise_cohort() > task.cohort().size();
  MLEDGE_ASSIGN_OR_RETURN(
      Column first,
      MakeColumn(stands_for_more ? "simulated" : "deployment", task,
                 *package.layout, task.simulation().noise_cohort()));
  columns.push_back(std::move(first));
  if (stands_for_more) {
    MLEDGE_ASSIGN_OR_RETURN(
        Column deployment,
        MakeColumn("deployment",
                   Deployed(task, task.simulation().noise_cohort()),
                   *package.layout, /*noise_cohort=*/0));
    columns.push_back(std::move(deployment));
  }
  const PrivateTask& plan = columns.front().plan;
  if (options.json) {
    nlohmann::ordered_json json = {
        {"mechanism", std::string(MechanismName(plan.mechanism))},
        {"population", task.privacy().population_size()},
        {"rounds", plan.limits.rounds},
        {"participations", plan.limits.participations},
        {"separation", plan.limits.separation},
        {"clip_norm", plan.clip_norm},
        {"layer_clip_norms", nlohmann::ordered_json::object()},
        {"cohorts", nlohmann::ordered_json::array()}};
    for (const ClippedLayer& layer : plan.layers) {
      json["layer_clip_norms"][layer.name] = layer.clip_norm;
    }
    for (const Column& column : columns) {
      json["cohorts"].push_back(ToJson(column));
    }
    std::cout << json.dump(2) << std::endl;
    return absl::OkStatus();
  }
  std::cout << absl::StrFormat(
      "%s noise, %d rounds, population %d, a device in at most %d rounds, %d "
      "or more apart\n",
      std::string(MechanismName(plan.mechanism)), plan.limits.rounds,
      task.privacy().population_size(), plan.limits.participations,
      plan.limits.separation);
  for (const Column& column : columns) PrintColumn(column);
  if (stands_for_more) {
    std::cout
        << "\nThe simulation adds the noise that the deployment's mean has, so "
           "on its smaller sum it is smaller in proportion; distributed noise, "
           "of which each device adds a share, scales with the square root. "
           "Claims are the deployment's.\n";
  }
  std::cout << "\nAssumed, per device, adjacency zero-out:\n";
  const auto claim = ClaimOf(columns.back().plan, Observer::kModelRecipients,
                             plan.limits.participations);
  MLEDGE_RETURN_IF_ERROR(claim.status());
  for (const std::string& assumption : claim->assumptions()) {
    std::cout << "  - " << assumption << '\n';
  }
  return absl::OkStatus();
}

}  // namespace

void RegisterPrivacyPlan(CLI::App* privacy, ChosenVerb& chosen) {
  CLI::App* plan = privacy->add_subcommand(
      "plan", "What a task's privacy section comes to: noise, grid, claims");
  auto options = std::make_shared<PlanOptions>();
  plan->add_option("TASK", options->task_file, "Task file")->required();
  plan->add_option("--set", options->overrides,
                   "FIELD=VALUE, as in `mledge simulate`");
  plan->add_flag("--json", options->json, "For machines");
  chosen.On(plan, [options] { return Plan(*options); });
}

}  // namespace mledge
