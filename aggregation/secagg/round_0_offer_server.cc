#include <algorithm>

#include "mledge/aggregation/secagg/internal/server_group.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 0 on the server: a session that can work, offered to whoever connects.

namespace mledge::secagg {

absl::StatusOr<GroupParameters> SecaggServer::ParametersFor(
    uint32_t devices) const {
  GroupParameters result{.devices = devices};
  const int64_t dropouts = CountOfFraction(options_.dropout_fraction, devices);
  if (options_.fixed_neighbors > 0) {
    result.neighbors = static_cast<uint32_t>(options_.fixed_neighbors);
    result.threshold = static_cast<uint32_t>(options_.fixed_threshold);
  } else {
    MLEDGE_ASSIGN_OR_RETURN(
        const SecaggParameters found,
        FindParameters(
            {.clients = devices,
             .corrupt_fraction = options_.corrupt_fraction,
             .dropout_fraction = options_.dropout_fraction,
             .sigma = SigmaForSessions(options_.sigma,
                                       options_.registrar_sessions_per_day),
             .eta = options_.eta,
             .threat_model = options_.threat_model,
             .losses = options_.losses,
             .graph = options_.graph}));
    result.neighbors = static_cast<uint32_t>(found.neighbors);
    result.threshold = static_cast<uint32_t>(found.threshold);
  }
  result.least_alive = std::max<uint32_t>(
      offer_.least_alive, static_cast<uint32_t>(devices - dropouts));
  return result;
}

absl::StatusOr<std::unique_ptr<SecaggServer>> SecaggServer::Create(
    ServerOptions options, Offer offer, Dependencies dependencies) {
  if (dependencies.members == nullptr) {
    return absl::InvalidArgumentError(
        "secure aggregation needs something that verifies members");
  }
  dependencies.members =
      dependencies.cryptography->VerifierFor(dependencies.members);
  if (options.maximum_devices < offer.least_devices ||
      options.maximum_devices > kMostClients) {
    return absl::InvalidArgumentError(
        StrCat("maximum_devices is ", options.maximum_devices,
               ", which must be between the offer's least_devices (",
               offer.least_devices, ") and ", kMostClients));
  }
  if (options.largest_group != 0 &&
      options.largest_group < 2 * int64_t{offer.least_devices}) {
    return absl::InvalidArgumentError(
        StrCat("largest_group is ", options.largest_group,
               "; equal groups of at most that size can be half of it, and "
               "each needs the offer's least_devices, ",
               offer.least_devices));
  }
  if (options.largest_group != 0 && offer.maximum_staleness != 0) {
    return absl::InvalidArgumentError(
        "a cohort with several base versions cannot be divided into groups");
  }
  if (options.registrar_sessions_per_day < 1) {
    return absl::InvalidArgumentError(
        "registrar_sessions_per_day must be at least 1");
  }
  std::unique_ptr<SecaggServer> server(new SecaggServer(
      std::move(options), std::move(offer), std::move(dependencies)));
  // Smaller cohorts may turn out to be infeasible when advertising closes.
  const ServerOptions& own = server->options_;
  MLEDGE_RETURN_IF_ERROR(
      server
          ->ParametersFor(static_cast<uint32_t>(
              own.largest_group == 0
                  ? own.maximum_devices
                  : std::min(own.maximum_devices, own.largest_group)))
          .status());
  return server;
}

ServerReaction SecaggServer::OnConnected(absl::Time, const DeviceId& device) {
  ServerReaction reaction;
  connected_.insert(device);
  if (ServerGroup* const group = GroupOf(device); group != nullptr) {
    group->OnConnected(device, reaction.effects);
    return reaction;
  }
  auto message = std::make_shared<v1::SecaggServerMessage>();
  if (state_ == State::kAdvertising) {
    message->mutable_offer()->set_offer(offer_.bytes);
  } else if (state_ == State::kWitnessing &&
             advertised_.contains(device.value())) {
    return reaction;  // its directory is on the way
  } else {
    message->mutable_outcome()->set_outcome(v1::SecaggOutcome::ABORTED);
    message->mutable_outcome()->set_reason(
        "the session is closed to further devices");
  }
  reaction.effects.push_back(SendToDevices{{device}, std::move(message)});
  return reaction;
}

}  // namespace mledge::secagg
