#include <cstdint>
#include <iostream>
#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "CLI/Validators.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "mledge/aggregation/secagg/cost_estimate.h"
#include "mledge/aggregation/secagg/parameters.h"
#include "mledge/cli/verbs.h"
#include "mledge/core/status_macros.h"
#include "nlohmann/json.hpp"

namespace mledge {
namespace {

using secagg::DeviceCost;
using secagg::SecaggParameters;
using secagg::ServerCost;
using secagg::SessionCost;

struct ParameterOptions {
  secagg::ParameterRequest request;
  std::string threat = "semi-malicious";
  std::string losses = "adversarial";
  std::string graph = "auto";
  int64_t length = 1'000'000;
  int modulus_bits = 32;
  bool json = false;
};

secagg::ParameterRequest RequestOf(const ParameterOptions& options) {
  secagg::ParameterRequest request = options.request;
  request.threat_model = options.threat == "semi-honest"
                             ? secagg::ThreatModel::kSemiHonest
                             : secagg::ThreatModel::kSemiMalicious;
  if (options.losses == "independent") {
    request.losses = secagg::LossChoice::kIndependent;
  }
  if (options.graph == "harary") request.graph = secagg::GraphKind::kHarary;
  if (options.graph == "full") request.graph = secagg::GraphKind::kFull;
  return request;
}

void PrintJson(const ParameterOptions& options,
               const SecaggParameters& parameters, const SessionCost& cost) {
  const DeviceCost& device = cost.device;
  const ServerCost& server = cost.server;
  const nlohmann::ordered_json json = {
      {"clients", parameters.clients},
      {"neighbors", parameters.neighbors},
      {"threshold", parameters.threshold},
      {"full_graph", parameters.full_graph},
      {"corrupt", parameters.corrupt},
      {"dropouts", parameters.dropouts},
      {"least_alive", parameters.least_alive()},
      {"threat", options.threat},
      {"losses", options.losses},
      {"length", options.length},
      {"modulus_bits", options.modulus_bits},
      {"device",
       {{"bytes_sent", device.bytes_sent},
        {"bytes_received", device.bytes_received},
        {"masked_input_bytes", device.masked_input_bytes},
        {"key_agreements", device.key_agreements},
        {"signatures_made", device.signatures_made},
        {"signatures_verified", device.signatures_verified},
        {"keystream_bytes", device.keystream_bytes}}},
      {"server",
       {{"bytes_received", server.bytes_received},
        {"bytes_sent", server.bytes_sent},
        {"key_agreements", server.key_agreements},
        {"signatures_verified", server.signatures_verified},
        {"seeds_reconstructed", server.seeds_reconstructed},
        {"keystream_bytes", server.keystream_bytes}}}};
  std::cout << json.dump(2) << std::endl;
}

void PrintText(const ParameterOptions& options,
               const SecaggParameters& parameters, const SessionCost& cost) {
  std::cout << absl::StrFormat(
      "k = %d neighbors%s, t = %d shares open a seed\n", parameters.neighbors,
      parameters.full_graph ? " (everybody else)" : "", parameters.threshold);
  if (parameters.corrupt == 0) {
    std::cout << "Nobody is assumed corrupt: the corrupt fraction of so few "
                 "clients is less than one.\n";
  } else {
    std::cout << absl::StrFormat("Holds against %d corrupt clients",
                                 parameters.corrupt)
              << " and a " << options.threat << " server.\n";
  }
  std::cout << absl::StrFormat(
      "Survives %d losses; a sum of fewer than %d is never released.\n\n",
      parameters.dropouts, parameters.least_alive());
  const DeviceCost& device = cost.device;
  const ServerCost& server = cost.server;
  const auto row = [](const char* what, double at_device, double at_server) {
    std::cout << absl::StrFormat("%-22s %14.6g %14.6g\n", what, at_device,
                                 at_server);
  };
  std::cout << absl::StrFormat(
      "Expected for %d coordinates of %d bits, all losses after sharing:\n"
      "%-22s %14s %14s\n",
      options.length, options.modulus_bits, "", "device", "server");
  constexpr double kMega = 1e6;
  row("MB sent", device.bytes_sent / kMega, server.bytes_sent / kMega);
  row("MB received", device.bytes_received / kMega,
      server.bytes_received / kMega);
  row("MB of keystream", device.keystream_bytes / kMega,
      server.keystream_bytes / kMega);
  row("key agreements", device.key_agreements, server.key_agreements);
  row("signatures verified", device.signatures_verified,
      server.signatures_verified);
  row("signatures made", device.signatures_made, 0);
  row("seeds reconstructed", 0, server.seeds_reconstructed);
}

absl::Status ShowParameters(const ParameterOptions& options) {
  MLEDGE_ASSIGN_OR_RETURN(const secagg::Modulus modulus,
                          secagg::Modulus::Create(options.modulus_bits));
  MLEDGE_ASSIGN_OR_RETURN(const SecaggParameters parameters,
                          secagg::FindParameters(RequestOf(options)));
  const SessionCost cost =
      secagg::EstimateCost(parameters, modulus, options.length);
  options.json ? PrintJson(options, parameters, cost)
               : PrintText(options, parameters, cost);
  return absl::OkStatus();
}

void RegisterParameters(CLI::App& secagg, ChosenVerb& chosen) {
  auto options = std::make_shared<ParameterOptions>();
  CLI::App* verb = secagg.add_subcommand(
      "parameters",
      "Finds how many neighbors and shares protect a cohort, and what a "
      "session costs");
  verb->add_option("--clients", options->request.clients,
                   "Members of the cohort")
      ->required();
  verb->add_option("--corrupt", options->request.corrupt_fraction,
                   "Fraction of them that may be corrupt")
      ->capture_default_str();
  verb->add_option("--dropout", options->request.dropout_fraction,
                   "Fraction that may be lost from sharing to unmasking")
      ->capture_default_str();
  verb->add_option("--threat", options->threat,
                   "What the server may do: semi-honest or semi-malicious")
      ->check(CLI::IsMember({"semi-honest", "semi-malicious"}))
      ->capture_default_str();
  verb->add_option("--losses", options->losses,
                   "Who chooses the lost clients: independent (chance) or "
                   "adversarial (a lying server that knows the graph)")
      ->check(CLI::IsMember({"independent", "adversarial"}))
      ->capture_default_str();
  verb->add_option("--sigma", options->request.sigma,
                   "Privacy fails with 2^-SIGMA at most")
      ->capture_default_str();
  verb->add_option("--eta", options->request.eta,
                   "Recovery fails with 2^-ETA at most")
      ->capture_default_str();
  verb->add_option("--graph", options->graph, "auto, harary or full")
      ->check(CLI::IsMember({"auto", "harary", "full"}))
      ->capture_default_str();
  verb->add_option("--length", options->length,
                   "Coordinates of an update, for the cost")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  verb->add_option("--modulus-bits", options->modulus_bits,
                   "Bits of a coordinate, for the cost")
      ->capture_default_str();
  verb->add_flag("--json", options->json, "For machines");
  chosen.On(verb, [options] { return ShowParameters(*options); });
}

}  // namespace

void RegisterSecagg(CLI::App& app, ChosenVerb& chosen) {
  CLI::App* secagg =
      app.add_subcommand("secagg", "Plans and measures secure aggregation");
  secagg->require_subcommand(1);
  RegisterParameters(*secagg, chosen);
  RegisterSecaggBench(*secagg, chosen);
}

}  // namespace mledge
