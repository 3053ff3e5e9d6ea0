#ifndef MLEDGE_AGGREGATION_SECAGG_MASK_SEED_H_
#define MLEDGE_AGGREGATION_SECAGG_MASK_SEED_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "mledge/aggregation/secagg/wiping_bytes.h"
#include "mledge/core/secret_bytes.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/sha256.h"

// The 32 secret bytes from which everything else is expanded: a member's
// self-mask, its mask key pair, its transport key pair, and the mask that two
// members share. It can be made in three ways only (fresh randomness, a key
// derivation, a reconstruction from shares), so that no short or guessable seed
// can come about by mistake. Wiped when it dies; not thread-safe.

namespace mledge::secagg {

inline constexpr size_t kMaskSeedSize = 32;

class MaskSeed {
 public:
  static MaskSeed Generate(SecretRandom& random);

  MaskSeed(MaskSeed&&) = default;
  MaskSeed& operator=(MaskSeed&&) = default;

  std::span<const uint8_t, kMaskSeedSize> bytes(SecretAccessToken token) const {
    return bytes_.bytes(token);
  }
  MaskSeed Clone(SecretAccessToken token) const {
    return MaskSeed(bytes_.Clone(token));
  }
  bool EqualsConstantTime(const MaskSeed& other) const {
    return bytes_.EqualsConstantTime(other.bytes_);
  }

 private:
  // The two other ways to a seed: key_agreement.h and shamir.h.
  friend class SharedSecret;
  friend class LagrangeWeights;
  explicit MaskSeed(WipingBytes<kMaskSeedSize> bytes)
      : bytes_(std::move(bytes)) {}

  WipingBytes<kMaskSeedSize> bytes_;
};

// What a member's leaf says of its self-mask seed: SHA-256 over a label and the
// seed. Hides it because it is 32 random bytes; binds to it, so that the server
// notices a wrong reconstruction.
Digest CommitTo(const MaskSeed& self_mask_seed);

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_MASK_SEED_H_
