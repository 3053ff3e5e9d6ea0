#ifndef MLEDGE_CLI_SECAGG_BENCH_H_
#define MLEDGE_CLI_SECAGG_BENCH_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "mledge/aggregation/secagg/parameters.h"

// One whole session of secure aggregation in this process, every message
// serialized and parsed, with the time that each side takes beside the floor:
// what the same keystream, key agreements and signatures cost as bare OpenSSL
// calls in the same run. Not thread-safe.

namespace mledge {

struct SecaggBenchOptions {
  int64_t clients = 100;
  int64_t length = 100'000;
  int modulus_bits = 32;
  double dropout = 0.1;  // lost after sharing
  double corrupt = 0.1;
  double design_dropout = 0.1;
  secagg::ThreatModel threat_model = secagg::ThreatModel::kSemiMalicious;
  secagg::LossChoice losses = secagg::LossChoice::kAdversarial;
  secagg::GraphKind graph = secagg::GraphKind::kAuto;
  int sigma = 40;
  int eta = 30;
  // In place of what the parameter finder says; 0: the finder.
  int64_t neighbors = 0;
  int64_t threshold = 0;
  bool identities = true;
  int threads = 1;  // of the server
  // Counts what the server holds, which takes time and empties caches: not
  // together with measuring times.
  bool memory = false;
};

struct SecaggBenchResult {
  int64_t neighbors = 0;
  int64_t threshold = 0;
  int64_t counted = 0;
  bool exact = false;
  double client_cpu_ms = 0;  // median of the devices that stayed
  double client_floor_ms = 0;
  double server_cpu_seconds = 0;
  double server_wall_seconds = 0;
  double floor_seconds = 0;  // the server's, one thread
  // By round, as the folder numbers them.
  std::map<std::string, double> client_cpu_ms_by_round;  // mean
  std::map<std::string, double> server_cpu_seconds_by_round;
  std::map<std::string, double> server_wall_seconds_by_round;
  int64_t bytes_to_server = 0;
  int64_t bytes_to_clients = 0;
  int64_t masked_input_bytes = 0;  // of one device
  // The most that the server held between two of its calls; 0 unless counted.
  int64_t server_held_bytes = 0;
  int64_t keystream_bytes = 0;  // the server's
  int64_t key_agreements = 0;
  int64_t signatures_verified = 0;
};

// INVALID_ARGUMENT and FAILED_PRECONDITION as secagg::FindParameters;
// ABORTED: the session came to no sum, and why.
absl::StatusOr<SecaggBenchResult> RunSecaggBench(
    const SecaggBenchOptions& options);

}  // namespace mledge

#endif  // MLEDGE_CLI_SECAGG_BENCH_H_
