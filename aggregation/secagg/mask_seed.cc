#include "mledge/aggregation/secagg/mask_seed.h"

#include <string_view>

namespace mledge::secagg {

MaskSeed MaskSeed::Generate(SecretRandom& random) {
  WipingBytes<kMaskSeedSize> bytes;
  random.Fill(bytes.mutable_bytes(RevealSecret()));
  return MaskSeed(std::move(bytes));
}

Digest CommitTo(const MaskSeed& self_mask_seed) {
  return Sha256()
      .UpdateField("mledge secagg self-mask commitment v1")
      .Update(self_mask_seed.bytes(RevealSecret()))
      .Finish();
}

}  // namespace mledge::secagg
