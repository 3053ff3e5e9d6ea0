#ifndef MLEDGE_CLI_SECAGG_BENCH_SETUP_H_
#define MLEDGE_CLI_SECAGG_BENCH_SETUP_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/aggregation/secagg/client.h"
#include "mledge/aggregation/secagg/server.h"
#include "mledge/cli/secagg_bench.h"
#include "mledge/identity/witness_key.h"

// What both sides of `mledge secagg bench` are set up with.

namespace mledge {

// A server that offers one section for a task that is called "bench". Codes as
// secagg::Offer::Make and secagg::SecaggServer::Create.
absl::StatusOr<std::unique_ptr<secagg::SecaggServer>> MakeBenchServer(
    const SecaggBenchOptions& options, absl::Time now,
    const WitnessKey& registrar,
    secagg::SecaggServer::Dependencies dependencies);

// Of devices that trust the options.
secagg::ClientPolicy BenchPolicy(const SecaggBenchOptions& options);

}  // namespace mledge

#endif  // MLEDGE_CLI_SECAGG_BENCH_SETUP_H_
