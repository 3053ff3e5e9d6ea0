#include <cmath>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "CLI/App.hpp"
#include "CLI/Validators.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "mledge/cli/privacy_verbs.h"
#include "mledge/cli/verbs.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/accounting/calibration.h"
#include "mledge/privacy/accounting/gaussian_schedule.h"
#include "mledge/privacy/accounting/privacy_claim.h"
#include "nlohmann/json.hpp"

namespace mledge {
namespace {

// What `epsilon` and `calibrate` share: the schedule and who is asked about it.
struct ScheduleOptions {
  GaussianSchedule schedule;
  double target_epsilon = 0;  // calibrate
  double delta = 0;
  std::string sampling = "poisson";
  std::string adjacency;  // empty: the usual one of the sampling
  std::string observer = "model-recipients";
  std::string unit = "device";
  std::string accountant = "pld";
  std::string orders;
  std::string conversion = "improved";
  bool json = false;
};

absl::StatusOr<AccountantOptions> AccountantOf(const ScheduleOptions& options) {
  AccountantOptions accountant;
  accountant.kind =
      options.accountant == "rdp" ? AccountantKind::kRdp : AccountantKind::kPld;
  if (accountant.kind == AccountantKind::kPld &&
      (!options.orders.empty() || options.conversion != "improved")) {
    return absl::InvalidArgumentError(
        "--orders and --conversion belong to --accountant rdp");
  }
  if (!options.orders.empty()) {
    MLEDGE_ASSIGN_OR_RETURN(accountant.orders, ParseOrders(options.orders));
  }
  if (options.conversion == "classic") {
    accountant.conversion = RdpConversion::kClassic;
  }
  accountant.adjacency = UsualAdjacency(options.schedule.sampling);
  if (!options.adjacency.empty()) {
    MLEDGE_ASSIGN_OR_RETURN(accountant.adjacency,
                            ParseAdjacency(options.adjacency));
  }
  return accountant;
}

void Print(const ScheduleOptions& options, const PrivacyClaim& claim) {
  const std::optional<std::string> warning = DeltaWarning(
      claim.delta, static_cast<double>(options.schedule.population));
  if (warning.has_value()) {
    std::cerr << "mledge: WARNING: " << *warning << std::endl;
  }
  if (options.json) {
    nlohmann::ordered_json json = {
        {"epsilon", claim.epsilon},
        {"delta", claim.delta},
        {"noise_multiplier", options.schedule.noise_multiplier},
        {"accountant", claim.accountant},
        {"observer", ObserverName(claim.observer)},
        {"adjacency", AdjacencyName(claim.adjacency)},
        {"unit", claim.unit},
        {"assumptions", claim.assumptions},
        {"sampling", options.sampling},
        {"sampling_probability", options.schedule.sampling_probability},
        {"steps", options.schedule.steps}};
    if (warning.has_value()) json["warnings"] = {*warning};
    std::cout << json.dump(2) << std::endl;
    return;
  }
  std::cout << absl::StrFormat(
      "epsilon %.6g at delta %g\n"
      "noise multiplier %.6g (standard deviation over clip norm)\n"
      "against %s, per %s, adjacency %s, by %s, assuming that\n",
      claim.epsilon, claim.delta, options.schedule.noise_multiplier,
      std::string(ObserverName(claim.observer)), claim.unit,
      std::string(AdjacencyName(claim.adjacency)), claim.accountant);
  for (const std::string& assumption : claim.assumptions) {
    std::cout << "  - " << assumption << '\n';
  }
}

// ε of the schedule at its noise multiplier, as a claim.
absl::Status Claim(const ScheduleOptions& options,
                   const AccountantOptions& accountant) {
  MLEDGE_ASSIGN_OR_RETURN(const PrivacyEvent event,
                          EventOfSchedule(options.schedule));
  MLEDGE_ASSIGN_OR_RETURN(const Observer observer,
                          ParseObserver(options.observer));
  MLEDGE_ASSIGN_OR_RETURN(
      const PrivacyClaim claim,
      ClaimFor(event, options.delta, observer, accountant, options.unit));
  Print(options, claim);
  return absl::OkStatus();
}

absl::Status ShowEpsilon(ScheduleOptions options) {
  MLEDGE_ASSIGN_OR_RETURN(options.schedule.sampling,
                          ParseSampling(options.sampling));
  MLEDGE_ASSIGN_OR_RETURN(const AccountantOptions accountant,
                          AccountantOf(options));
  return Claim(options, accountant);
}

absl::Status ShowCalibration(ScheduleOptions options) {
  MLEDGE_ASSIGN_OR_RETURN(options.schedule.sampling,
                          ParseSampling(options.sampling));
  MLEDGE_ASSIGN_OR_RETURN(const AccountantOptions accountant,
                          AccountantOf(options));
  options.schedule.noise_multiplier = 1;
  MLEDGE_RETURN_IF_ERROR(EventOfSchedule(options.schedule).status());
  const auto event_of = [&](double noise_multiplier) {
    GaussianSchedule schedule = options.schedule;
    schedule.noise_multiplier = noise_multiplier;
    return *EventOfSchedule(schedule);
  };
  MLEDGE_ASSIGN_OR_RETURN(const Calibration found,
                          CalibrateNoise(event_of, options.target_epsilon,
                                         options.delta, accountant));
  options.schedule.noise_multiplier = found.noise_multiplier;
  return Claim(options, accountant);
}

void AddScheduleOptions(CLI::App* verb, ScheduleOptions* options) {
  GaussianSchedule& schedule = options->schedule;
  verb->add_option("--steps", schedule.steps, "Rounds")->required();
  verb->add_option("--delta", options->delta,
                   "δ of the guarantee, below 1/population")
      ->required();
  verb->add_option("--sampling", options->sampling,
                   "How a round's devices are found: poisson (each by its own "
                   "secret coin), without-replacement (a secret sample of one "
                   "size) or none (known; participations are enforced)")
      ->check(CLI::IsMember({"poisson", "without-replacement", "none"}))
      ->capture_default_str();
  verb->add_option("--sampling-probability", schedule.sampling_probability,
                   "Expected cohort over population")
      ->capture_default_str();
  verb->add_option("--population", schedule.population,
                   "Devices there are: for sampling without replacement, and "
                   "to check delta");
  verb->add_option("--participations", schedule.participations,
                   "Sampling none: how often a device takes part at most");
  verb->add_option("--separation", schedule.separation,
                   "Sampling none: rounds from one participation to the next");
  verb->add_option("--adjacency", options->adjacency,
                   "Neighbours: add-or-remove (default for poisson), "
                   "replace-one (without-replacement) or zero-out (none)")
      ->check(CLI::IsMember({"add-or-remove", "replace-one", "zero-out"}));
  verb->add_option("--observer", options->observer,
                   "Against whom: model-recipients or coordinator")
      ->check(CLI::IsMember({"model-recipients", "coordinator"}))
      ->capture_default_str();
  verb->add_option("--unit", options->unit, "Whose data is protected")
      ->capture_default_str();
  verb->add_option("--accountant", options->accountant,
                   "pld (tight) or rdp (an upper bound)")
      ->check(CLI::IsMember({"pld", "rdp"}))
      ->capture_default_str();
  verb->add_option("--orders", options->orders,
                   "RDP at these orders only, e.g. 2..33 or 1.5,2,64");
  verb->add_option("--conversion", options->conversion,
                   "RDP: improved, or classic for older figures")
      ->check(CLI::IsMember({"improved", "classic"}))
      ->capture_default_str();
  verb->add_flag("--json", options->json, "For machines");
}

}  // namespace

void RegisterPrivacy(CLI::App& app, ChosenVerb& chosen) {
  CLI::App* privacy = app.add_subcommand(
      "privacy", "Says what differential privacy costs and what it promises");
  privacy->require_subcommand(1);

  auto epsilon_options = std::make_shared<ScheduleOptions>();
  CLI::App* epsilon = privacy->add_subcommand(
      "epsilon", "What rounds with Gaussian noise cost");
  epsilon
      ->add_option("--noise-multiplier",
                   epsilon_options->schedule.noise_multiplier,
                   "Standard deviation of the noise over the clip norm")
      ->required();
  AddScheduleOptions(epsilon, epsilon_options.get());
  chosen.On(epsilon,
            [epsilon_options] { return ShowEpsilon(*epsilon_options); });

  auto calibrate_options = std::make_shared<ScheduleOptions>();
  CLI::App* calibrate = privacy->add_subcommand(
      "calibrate", "The least noise that keeps rounds within an epsilon");
  calibrate
      ->add_option("--target-epsilon", calibrate_options->target_epsilon,
                   "ε that the result stays below, by less than 0.1 %")
      ->required();
  AddScheduleOptions(calibrate, calibrate_options.get());
  chosen.On(calibrate, [calibrate_options] {
    return ShowCalibration(*calibrate_options);
  });

  RegisterPrivacyPlan(privacy, chosen);
}

}  // namespace mledge
