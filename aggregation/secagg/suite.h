#ifndef MLEDGE_AGGREGATION_SECAGG_SUITE_H_
#define MLEDGE_AGGREGATION_SECAGG_SUITE_H_

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

// The algorithms of a session. One cohort uses one of each, named by the offer,
// because all ends of a pair must derive the same bytes.

namespace mledge::secagg {

// Part of every derived key. Raise it with any change to what is derived.
inline constexpr uint32_t kProtocolVersion = 1;

// The numbers travel in messages and in public keys.
enum class AgreementSuite : uint8_t {
  kX25519 = 1,
  // Reserved: refused by name until it is built.
  kP256 = 2,
};

// Mask expansion and the sealing of shares.
enum class CipherSuite : uint8_t {
  kAes128Ctr = 1,  // shares are sealed with AES-256-GCM
  kChaCha20 = 2,   // shares are sealed with ChaCha20-Poly1305
};

// UNIMPLEMENTED for a number that is reserved, INVALID_ARGUMENT for one that
// nobody knows.
absl::StatusOr<AgreementSuite> AgreementSuiteFromNumber(uint32_t number);
absl::StatusOr<CipherSuite> CipherSuiteFromNumber(uint32_t number);

std::string_view ToString(AgreementSuite suite);
std::string_view ToString(CipherSuite suite);

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_SUITE_H_
