#ifndef MLEDGE_AGGREGATION_SECAGG_MASK_H_
#define MLEDGE_AGGREGATION_SECAGG_MASK_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/aggregation/secagg/mask_seed.h"
#include "mledge/aggregation/secagg/modular.h"
#include "mledge/aggregation/secagg/suite.h"
#include "mledge/aggregation/secagg/wiping_bytes.h"
#include "mledge/core/executor.h"

// From seeds to masks, and into a vector. The keystream of AES-128-CTR (or
// ChaCha20, for a whole cohort) is cut into little-endian lanes of the
// modulus's size, ⌈b/16⌉·2 bytes a coordinate; coordinate i of a mask is the
// i-th lane modulo 2^b, uniform because 2^b divides the lane. The stream is
// expanded into a cache-sized block and added at once; nothing as long as the
// vector is ever held. Key and nonce come from the seed by HKDF with the
// purpose and the section, so a session may mask several vectors (the model at
// b bits, its scalars at 32) with the same seeds.

namespace mledge::secagg {

enum class MaskPurpose : uint8_t {
  kSelf = 1,  // a member's own mask, of its self-mask seed
  kPair = 2,  // of the seed that two members agreed on
};

// Which stream of a seed.
struct MaskStream {
  MaskPurpose purpose = MaskPurpose::kPair;
  uint32_t section = 0;  // which vector of the session
};

enum class MaskSign : int8_t { kAdd = 1, kSubtract = -1 };

// Of a pair, the member with the smaller index adds the shared mask and the
// other subtracts it, so that they cancel. Precondition: own ≠ peer.
inline MaskSign SignInPair(uint32_t own_index, uint32_t peer_index) {
  return own_index < peer_index ? MaskSign::kAdd : MaskSign::kSubtract;
}
inline MaskSign Opposite(MaskSign sign) {
  return sign == MaskSign::kAdd ? MaskSign::kSubtract : MaskSign::kAdd;
}

// Key and nonce of one stream, ready for use: derived once a seed,
// used for as many ranges as there are. Wiped when it dies.
class MaskKey {
 public:
  MaskKey(CipherSuite suite, const MaskSeed& seed, MaskStream stream);

  CipherSuite suite() const { return suite_; }

 private:
  friend class MaskExpander;
  CipherSuite suite_;
  WipingBytes<40> material_;  // key (16 or 32 bytes), nonce (8) from byte 32
};

struct SignedMask {
  MaskKey key;
  MaskSign sign = MaskSign::kAdd;
};

// One thread's tools: cipher contexts that are reused for every key. Not
// thread-safe.
class MaskExpander {
 public:
  MaskExpander();
  ~MaskExpander();
  MaskExpander(const MaskExpander&) = delete;
  MaskExpander& operator=(const MaskExpander&) = delete;

  // Adds (or subtracts) coordinates begin … end−1 of all masks to those of
  // `vector`. INVALID_ARGUMENT: a range outside the vector, or whose begin is
  // not a multiple of kRangeAlignment.
  absl::Status Apply(std::span<const SignedMask> masks, int64_t begin,
                     int64_t end, ModularVector* vector);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The whole vector, split by range over the pool and the calling thread. With a
// null pool everything runs here. The result does not depend on the split.
void ApplyMasks(std::span<const SignedMask> masks, ModularVector* vector,
                ThreadPool* pool);

// Bytes of keystream that one mask over `size` coordinates takes.
inline int64_t KeystreamSize(Modulus modulus, int64_t size) {
  return size * static_cast<int64_t>(modulus.lane_size_in_bytes());
}

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_MASK_H_
