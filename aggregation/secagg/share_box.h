#ifndef MLEDGE_AGGREGATION_SECAGG_SHARE_BOX_H_
#define MLEDGE_AGGREGATION_SECAGG_SHARE_BOX_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "mledge/aggregation/secagg/key_agreement.h"
#include "mledge/aggregation/secagg/shamir.h"
#include "mledge/aggregation/secagg/suite.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/sha256.h"

// The sealed letter in which a member gives a neighbour its two shares: of the
// seed of its mask key and of its self-mask seed. AES-256-GCM or
// ChaCha20-Poly1305 under a key that is used for one direction of one pair in
// one session; the associated data is session ‖ from ‖ to, so that the server
// cannot deliver it elsewhere. The nonce is random, travels in front, and
// makes a second sealing under the same key harmless. Pure functions.

namespace mledge::secagg {

inline constexpr size_t kShareBoxNonceSize = 12;
inline constexpr size_t kShareBoxTagSize = 16;
// nonce ‖ encrypted (mask key share ‖ self-mask share) ‖ tag
inline constexpr size_t kShareBoxSize =
    kShareBoxNonceSize + 2 * kShareValueSize + kShareBoxTagSize;

// The address, authenticated with the contents.
struct ShareBoxAddress {
  Digest session;
  uint32_t from = 0;  // index of the member who shared
  uint32_t to = 0;    // index of the neighbour
};

// What `from` gives `to`: the values at the share index of `to`.
struct SharePair {
  ShareValue mask_key;
  ShareValue self_mask;
};

// Exactly kShareBoxSize bytes.
std::string SealShares(CipherSuite suite, const ShareBoxKey& key,
                       const ShareBoxAddress& address, const SharePair& shares,
                       SecretRandom& random);

// INVALID_ARGUMENT: another length than kShareBoxSize. UNAUTHENTICATED: made
// with another key, for another address, or changed on the way.
absl::StatusOr<SharePair> OpenShares(CipherSuite suite, const ShareBoxKey& key,
                                     const ShareBoxAddress& address,
                                     std::string_view box);

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_SHARE_BOX_H_
