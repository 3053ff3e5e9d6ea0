#include "mledge/cli/secagg_bench_setup.h"

#include <utility>

#include "mledge/aggregation/secagg/offer.h"
#include "mledge/aggregation/secagg/suite.h"
#include "mledge/core/sha256.h"
#include "mledge/core/status_macros.h"
#include "mledge/identity/witness.h"

namespace mledge {

using namespace secagg;  // NOLINT: the bench is all about it

absl::StatusOr<std::unique_ptr<SecaggServer>> MakeBenchServer(
    const SecaggBenchOptions& options, absl::Time now,
    const WitnessKey& registrar, SecaggServer::Dependencies dependencies) {
  v1::SecaggOffer offer;
  offer.set_protocol_version(kProtocolVersion);
  offer.set_agreement_suite(1);
  offer.set_cipher_suite(1);
  offer.set_session_number(1);
  const Digest task = Sha256Of("bench");
  offer.set_task_sha256(task.ToBytes());
  offer.set_package_sha256(task.ToBytes());
  VersionLogHead head{.task = task, .length = 1};
  head.head = ExtendVersionLog(task, 0, EmptyVersionLog(task), task);
  head.time = now;
  head.Sign(registrar);
  *offer.mutable_version_log() = head.ToProto();
  offer.set_head_before_entries(EmptyVersionLog(task).ToBytes());
  offer.add_entries(task.ToBytes());
  offer.set_least_devices(3);
  offer.set_least_alive(1);
  offer.add_sections()->set_length(static_cast<uint64_t>(options.length));
  offer.mutable_sections(0)->set_modulus_bits(
      static_cast<uint32_t>(options.modulus_bits));
  offer.set_expires_unix_milliseconds(absl::ToUnixMillis(now + absl::Hours(1)));
  offer.set_nonce(task.ToBytes());
  MLEDGE_ASSIGN_OR_RETURN(Offer made, Offer::Make(offer));
  ServerOptions server;
  server.corrupt_fraction = options.corrupt;
  server.dropout_fraction = options.design_dropout;
  server.sigma = options.sigma;
  server.eta = options.eta;
  server.threat_model = options.threat_model;
  server.losses = options.losses;
  server.graph = options.graph;
  server.registrar_sessions_per_day = 1;
  server.fixed_neighbors = options.neighbors;
  server.fixed_threshold = options.threshold;
  server.maximum_devices = options.clients;
  return SecaggServer::Create(server, std::move(made), std::move(dependencies));
}

ClientPolicy BenchPolicy(const SecaggBenchOptions& options) {
  ClientPolicy policy;
  policy.session = {.corrupt_fraction = options.corrupt,
                    .sigma = options.sigma,
                    .threat_model = options.threat_model,
                    .losses = options.losses,
                    .least_clients = 3,
                    .least_alive = 1};
  policy.registrar_sessions_per_day = 1;
  policy.maximum_lifetime = absl::Hours(2);
  if (options.neighbors > 0) {
    // Somebody else's numbers: what they promise is not ours to check.
    policy.session.corrupt_fraction = 0;
    policy.session.threat_model = ThreatModel::kSemiHonest;
    policy.session.sigma = 1;
  }
  return policy;
}

}  // namespace mledge
