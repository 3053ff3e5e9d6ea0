#ifndef MLEDGE_AGGREGATION_SECAGG_INTERNAL_CLIENT_SESSION_H_
#define MLEDGE_AGGREGATION_SECAGG_INTERNAL_CLIENT_SESSION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mledge/aggregation/secagg/client.h"
#include "mledge/aggregation/secagg/directory.h"
#include "mledge/aggregation/secagg/member_set.h"
#include "mledge/aggregation/secagg/offer.h"
#include "mledge/aggregation/secagg/share_box.h"
#include "mledge/identity/witness.h"

// What a device knows of the session it is in. Dies, and wipes its keys, with
// the session.

namespace mledge::secagg {

struct SecaggClient::Neighbor {
  uint32_t member = 0;
  MemberIdentity identity;
  std::vector<std::string> certificates;
  bool masked = false;              // it shared, so its mask is applied
  std::optional<SharePair> shares;  // what it gave us, if its box opened
};

struct SecaggClient::Session {
  explicit Session(Offer the_offer) : offer(std::move(the_offer)) {}

  const Offer offer;

  std::unique_ptr<DeviceSecrets> secrets;  // until the masked input is made
  std::string leaf;                        // as sent

  std::optional<Directory> directory;
  std::optional<WitnessStatement> witness;
  uint32_t cohort_index = 0;
  uint32_t group = 0;
  uint32_t member = 0;
  Digest id;
  std::vector<Neighbor> neighbors;  // ascending

  std::string content_sha256;  // of the masked input
  std::optional<MemberSet> alive;
  std::optional<MemberSet> dead;
  std::optional<SetsStatement> sets_witness;  // over the two
  v1::SecaggUnmask unmask;

  const GroupParameters& parameters() const {
    return directory->ParametersOf(group);
  }
  // Null when that member is no neighbour.
  Neighbor* FindNeighbor(uint32_t neighbor);
  size_t NumberOf(const Neighbor& neighbor) const {
    return static_cast<size_t>(&neighbor - neighbors.data());
  }
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_INTERNAL_CLIENT_SESSION_H_
