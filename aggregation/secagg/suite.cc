#include "mledge/aggregation/secagg/suite.h"

#include "mledge/core/strings.h"

namespace mledge::secagg {

absl::StatusOr<AgreementSuite> AgreementSuiteFromNumber(uint32_t number) {
  if (number == static_cast<uint32_t>(AgreementSuite::kX25519)) {
    return AgreementSuite::kX25519;
  }
  if (number == static_cast<uint32_t>(AgreementSuite::kP256)) {
    return absl::UnimplementedError(
        "key agreement suite 2 (P-256) is reserved and not built; use suite 1 "
        "(X25519)");
  }
  return absl::InvalidArgumentError(StrCat("unknown key agreement suite ",
                                           number,
                                           "; this program knows 1 (X25519)"));
}

absl::StatusOr<CipherSuite> CipherSuiteFromNumber(uint32_t number) {
  switch (number) {
    case static_cast<uint32_t>(CipherSuite::kAes128Ctr):
      return CipherSuite::kAes128Ctr;
    case static_cast<uint32_t>(CipherSuite::kChaCha20):
      return CipherSuite::kChaCha20;
    default:
      return absl::InvalidArgumentError(
          StrCat("unknown cipher suite ", number,
                 "; this program knows 1 (AES-128-CTR) and 2 (ChaCha20)"));
  }
}

std::string_view ToString(AgreementSuite suite) {
  return suite == AgreementSuite::kX25519 ? "X25519" : "P-256";
}

std::string_view ToString(CipherSuite suite) {
  return suite == CipherSuite::kAes128Ctr ? "AES-128-CTR" : "ChaCha20";
}

}  // namespace mledge::secagg
