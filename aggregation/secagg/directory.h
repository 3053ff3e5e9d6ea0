#ifndef MLEDGE_AGGREGATION_SECAGG_DIRECTORY_H_
#define MLEDGE_AGGREGATION_SECAGG_DIRECTORY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/aggregation/secagg/graph.h"
#include "mledge/aggregation/secagg/key_agreement.h"
#include "mledge/aggregation/secagg/offer.h"
#include "mledge/core/sha256.h"
#include "mledge/v1/secure_aggregation.pb.h"

// The two documents on which a session rests: what each device says of itself
// (leaf) and what the registrar witnesses about all of them (directory). Read
// and found sound in themselves; whom to believe is decided by membership.h and
// the rounds. Values; const access from several threads is safe.

namespace mledge::secagg {

inline constexpr size_t kMaximumLeafSize = 32 * 1024;
inline constexpr size_t kMaximumDirectorySize = 64 * 1024;

struct Leaf {
  std::string bytes;  // SignedSecaggLeaf, as it travels; what the tree is over
  std::string signed_bytes;  // what its signature covers, with the offer
  std::string signature;
  std::vector<std::string> certificates;
  AgreementPublicKey mask_key;
  AgreementPublicKey transport_key;
  Digest self_mask_commitment;
  uint64_t base_version = 0;

  // INVALID_ARGUMENT: malformed, no certificate, a key that is none of the
  // offer's suite or has been seen to be of small order, the same key twice, a
  // commitment that is no hash, a base version that the offer does not allow.
  static absl::StatusOr<Leaf> Parse(std::string_view bytes, const Offer& offer);
};

struct GroupParameters {
  uint32_t devices = 0;    // n
  uint32_t neighbors = 0;  // k
  uint32_t threshold = 0;  // t
  uint32_t least_alive = 0;
  bool full_graph() const { return neighbors + 1 == devices; }
};

struct Directory {
  std::string bytes;
  Digest hash;  // H(directory): what the registrar signs

  Digest offer_hash;
  uint32_t devices = 0;
  uint32_t groups = 1;
  std::vector<GroupParameters> parameters;
  Digest merkle_root;
  std::vector<std::pair<uint64_t, uint32_t>> versions;  // version, devices

  // INVALID_ARGUMENT names what does not fit together.
  static absl::StatusOr<Directory> Parse(std::string_view bytes);
  static absl::StatusOr<Directory> Make(const v1::SecaggDirectory& message);

  const GroupParameters& ParametersOf(uint32_t group) const {
    return parameters[group < devices % groups ? 0 : parameters.size() - 1];
  }
  // Whether the members' leaves are all leaves and travel without paths.
  bool ShowsAllLeaves() const {
    return groups == 1 && parameters[0].full_graph();
  }
};

// Members of each group, ascending by their index in the directory: cut from an
// order of all devices that is drawn from the registrar's signature, so that
// nobody who picks devices picks groups. With one group: everybody.
std::vector<std::vector<uint32_t>> DivideIntoGroups(uint32_t devices,
                                                    uint32_t groups,
                                                    std::string_view witness);

// The graph of one group, drawn from the registrar's signature.
absl::StatusOr<NeighborGraph> GraphOfGroup(const GroupParameters& parameters,
                                           uint32_t group,
                                           std::string_view witness);

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_DIRECTORY_H_
