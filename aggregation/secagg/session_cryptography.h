#ifndef MLEDGE_AGGREGATION_SECAGG_SESSION_CRYPTOGRAPHY_H_
#define MLEDGE_AGGREGATION_SECAGG_SESSION_CRYPTOGRAPHY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/aggregation/secagg/directory.h"
#include "mledge/aggregation/secagg/key_agreement.h"
#include "mledge/aggregation/secagg/membership.h"
#include "mledge/aggregation/secagg/merkle.h"
#include "mledge/aggregation/secagg/modular.h"
#include "mledge/aggregation/secagg/offer.h"
#include "mledge/aggregation/secagg/share_box.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/sha256.h"
#include "mledge/identity/witness.h"

// What a session leaves to cryptography: the device's keys, boxes and masks,
// the others' signatures, and what is drawn from them. Rounds decide who
// says what, when and to whom; here is how it is kept secret. Both ends see it
// through a class with virtual methods only so that the simulator can draw the
// same graph each time, and can leave the work out
// (simulation/internal/simulated_cryptography.h, which nothing that ships
// links). What stands here is the real thing, and the default everywhere.

namespace mledge::secagg {

// A neighbour's public keys, as its leaf shows them.
struct NeighborKeys {
  uint32_t member = 0;
  AgreementPublicKey mask_key;
  AgreementPublicKey transport_key;
};

// A device's secrets of one session, wiped when they die. Once the masked input
// is made they have done their work: others hold their shares.
// Order of calls: Shown; SealShares; OpenShares for each box; Mask.
class DeviceSecrets {
 public:
  virtual ~DeviceSecrets() = default;

  // What the device's leaf says of them; keys encoded as AgreementPublicKey.
  struct PublicPart {
    std::string mask_key;
    std::string transport_key;
    Digest self_mask_commitment;
  };
  virtual const PublicPart& Shown() const = 0;

  // A sealed box for each of `neighbors`, one after the other in their order:
  // shares of both seeds, `threshold` of which open them. `member`: the
  // device's own number.
  // INVALID_ARGUMENT: a threshold that is none for so many, a neighbour's key
  // of small order.
  virtual absl::StatusOr<std::string> SealShares(
      const Digest& session, uint32_t member, int64_t threshold,
      std::vector<NeighborKeys> neighbors, SecretRandom& random) = 0;

  // What number `neighbor` of those put into its box. Codes as OpenShares of
  // share_box.h.
  virtual absl::StatusOr<SharePair> OpenShares(size_t neighbor,
                                               std::string_view box) = 0;

  // Adds the device's own mask and those that it has in common with `neighbors`
  // (numbers as in OpenShares) to every section. INVALID_ARGUMENT: a key of
  // small order.
  virtual absl::Status Mask(std::span<const size_t> neighbors,
                            std::vector<ModularVector>& sections) = 0;
};

// Const access from several threads is safe.
class SessionCryptography {
 public:
  virtual ~SessionCryptography() = default;

  // Fresh ones for the offer's suites. UNIMPLEMENTED: a suite that is reserved.
  virtual absl::StatusOr<std::unique_ptr<DeviceSecrets>> MakeSecrets(
      const Offer& offer, SecretRandom& random) const;

  // Whether the registrar signed this. PERMISSION_DENIED: no.
  virtual absl::Status Verify(const VersionLogHead& head,
                              const WitnessPublicKey& registrar) const;
  virtual absl::Status Verify(const WitnessStatement& statement,
                              const WitnessPublicKey& registrar) const;
  virtual absl::Status Verify(const SetsStatement& statement,
                              const WitnessPublicKey& registrar) const;

  // Who judges certificates and signatures of members, where `members` would.
  virtual MemberVerifier* VerifierFor(MemberVerifier* members) const {
    return members;
  }

  // Whether a directory has this leaf there. Codes as ParsePath and
  // VerifyInclusion of merkle.h.
  virtual absl::Status VerifyPath(const Directory& directory, uint32_t index,
                                  const MerkleLeaf& leaf,
                                  std::string_view path) const;

  // What groups and graphs are drawn from: the registrar's signature, so that
  // nobody who picks devices picks neighbours.
  virtual std::string DrawnFrom(const WitnessStatement& statement) const;

  // Whether inputs come masked, so that the sum is unmasked.
  virtual bool masks() const { return true; }

  static const SessionCryptography& Default();
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_SESSION_CRYPTOGRAPHY_H_
