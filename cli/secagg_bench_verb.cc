#include <cstdint>
#include <iostream>
#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "CLI/Validators.hpp"
#include "absl/strings/str_format.h"
#include "mledge/cli/secagg_bench.h"
#include "mledge/cli/verbs.h"
#include "mledge/core/status_macros.h"
#include "nlohmann/json.hpp"

namespace mledge {
namespace {

struct BenchVerb {
  SecaggBenchOptions options;
  std::string threat = "semi-malicious";
  std::string losses = "adversarial";
  std::string graph = "auto";
  std::string identity = "on";
  bool json = false;
};

void PrintJson(const SecaggBenchResult& result) {
  const nlohmann::ordered_json json = {
      {"neighbors", result.neighbors},
      {"threshold", result.threshold},
      {"counted", result.counted},
      {"exact", result.exact},
      {"client_cpu_ms", result.client_cpu_ms},
      {"client_floor_ms", result.client_floor_ms},
      {"client_over_floor", result.client_cpu_ms / result.client_floor_ms},
      {"server_cpu_seconds", result.server_cpu_seconds},
      {"server_wall_seconds", result.server_wall_seconds},
      {"floor_seconds", result.floor_seconds},
      {"server_over_floor", result.server_cpu_seconds / result.floor_seconds},
      {"client_cpu_ms_by_round", result.client_cpu_ms_by_round},
      {"server_cpu_seconds_by_round", result.server_cpu_seconds_by_round},
      {"server_wall_seconds_by_round", result.server_wall_seconds_by_round},
      {"bytes_to_server", result.bytes_to_server},
      {"bytes_to_clients", result.bytes_to_clients},
      {"masked_input_bytes", result.masked_input_bytes},
      {"server_held_bytes", result.server_held_bytes},
      {"keystream_bytes", result.keystream_bytes},
      {"key_agreements", result.key_agreements},
      {"signatures_verified", result.signatures_verified}};
  std::cout << json.dump(2) << std::endl;
}

void PrintText(const SecaggBenchResult& result) {
  std::cout << absl::StrFormat(
      "k = %d, t = %d, %d in the sum, which is %s\n"
      "client  %9.2f ms  floor %9.2f ms  ratio %.2f\n"
      "server  %9.3f s   floor %9.3f s   ratio %.2f   wall %.3f s\n",
      result.neighbors, result.threshold, result.counted,
      result.exact ? "exact" : "WRONG", result.client_cpu_ms,
      result.client_floor_ms, result.client_cpu_ms / result.client_floor_ms,
      result.server_cpu_seconds, result.floor_seconds,
      result.server_cpu_seconds / result.floor_seconds,
      result.server_wall_seconds);
  if (result.server_held_bytes > 0) {
    std::cout << absl::StrFormat(
        "server held %.1f MB at most\n",
        1e-6 * static_cast<double>(result.server_held_bytes));
  }
  for (const auto& [round, seconds] : result.server_cpu_seconds_by_round) {
    std::cout << absl::StrFormat("  server %-16s %9.4f s\n", round, seconds);
  }
  for (const auto& [round, milliseconds] : result.client_cpu_ms_by_round) {
    std::cout << absl::StrFormat("  client %-16s %9.3f ms\n", round,
                                 milliseconds);
  }
}

absl::Status RunBench(const BenchVerb& verb) {
  SecaggBenchOptions options = verb.options;
  options.identities = verb.identity == "on";
  if (verb.threat == "semi-honest") {
    options.threat_model = secagg::ThreatModel::kSemiHonest;
  }
  if (verb.losses == "independent") {
    options.losses = secagg::LossChoice::kIndependent;
  }
  if (verb.graph == "harary") options.graph = secagg::GraphKind::kHarary;
  if (verb.graph == "full") options.graph = secagg::GraphKind::kFull;
  MLEDGE_ASSIGN_OR_RETURN(const SecaggBenchResult result,
                          RunSecaggBench(options));
  verb.json ? PrintJson(result) : PrintText(result);
  return result.exact ? absl::OkStatus()
                      : absl::InternalError("the sum is wrong");
}

}  // namespace

void RegisterSecaggBench(CLI::App& secagg, ChosenVerb& chosen) {
  auto verb = std::make_shared<BenchVerb>();
  SecaggBenchOptions& options = verb->options;
  CLI::App* bench = secagg.add_subcommand(
      "bench",
      "Runs one whole session in this process and measures both sides");
  bench->add_option("--clients", options.clients, "Members of the cohort")
      ->required();
  bench->add_option("--length", options.length, "Coordinates of an update")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->required();
  bench
      ->add_option("--dropout", options.dropout,
                   "Fraction that is lost after sharing")
      ->required();
  bench
      ->add_option("--corrupt", options.corrupt,
                   "Fraction that the parameters are planned for")
      ->capture_default_str();
  bench
      ->add_option("--design-dropout", options.design_dropout,
                   "Fraction lost that the parameters are planned for")
      ->capture_default_str();
  bench->add_option("--threat", verb->threat, "semi-honest or semi-malicious")
      ->check(CLI::IsMember({"semi-honest", "semi-malicious"}))
      ->capture_default_str();
  bench
      ->add_option("--losses", verb->losses,
                   "independent or adversarial, as for `secagg parameters`")
      ->check(CLI::IsMember({"independent", "adversarial"}))
      ->capture_default_str();
  bench->add_option("--sigma", options.sigma)->capture_default_str();
  bench->add_option("--eta", options.eta)->capture_default_str();
  bench->add_option("--neighbors", options.neighbors,
                    "In place of what the finder says, with --threshold");
  bench->add_option("--threshold", options.threshold);
  bench->add_option("--graph", verb->graph, "auto, harary or full")
      ->check(CLI::IsMember({"auto", "harary", "full"}))
      ->capture_default_str();
  bench->add_option("--modulus-bits", options.modulus_bits)
      ->capture_default_str();
  bench
      ->add_option("--identity", verb->identity,
                   "off: without certificates and signatures, for comparing "
                   "with systems that have none")
      ->check(CLI::IsMember({"on", "off"}))
      ->capture_default_str();
  bench->add_option("--threads", options.threads, "Of the server")
      ->capture_default_str();
  bench->add_flag("--memory", options.memory,
                  "Count what the server holds; times are wrong then");
  bench->add_flag("--json", verb->json, "For machines");
  chosen.On(bench, [verb] { return RunBench(*verb); });
}

}  // namespace mledge
