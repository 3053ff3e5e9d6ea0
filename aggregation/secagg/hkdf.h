#ifndef MLEDGE_AGGREGATION_SECAGG_HKDF_H_
#define MLEDGE_AGGREGATION_SECAGG_HKDF_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "mledge/aggregation/secagg/wiping_bytes.h"

// HKDF-SHA256 (RFC 5869). Written over EVP's digest rather than EVP_KDF, which
// allocates and fetches on each call: a server derives tens of thousands of
// keys a session. Thread-safe.

namespace mledge::secagg {

using PseudorandomKey = WipingBytes<32>;

// An empty salt stands for 32 zero bytes, as in the RFC.
PseudorandomKey HkdfExtract(std::span<const uint8_t> salt,
                            std::span<const uint8_t> input_key);
// Precondition: out.size() ≤ 255 · 32.
void HkdfExpand(std::span<const uint8_t> pseudorandom_key,
                std::string_view info, std::span<uint8_t> out);

// Builds the info of a derivation: a label, then fields with their lengths, so
// that no two lists of fields give the same bytes.
class HkdfInfo {
 public:
  // `label` names the use, for example "mask stream".
  explicit HkdfInfo(std::string_view label);
  HkdfInfo& AddBytes(std::string_view bytes);
  HkdfInfo& AddNumber(uint64_t number);
  std::string_view view() const { return info_; }

 private:
  std::string info_;
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_HKDF_H_
