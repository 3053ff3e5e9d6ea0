#ifndef MLEDGE_AGGREGATION_SECAGG_OFFER_H_
#define MLEDGE_AGGREGATION_SECAGG_OFFER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/aggregation/secagg/modular.h"
#include "mledge/aggregation/secagg/suite.h"
#include "mledge/core/sha256.h"
#include "mledge/identity/witness.h"
#include "mledge/v1/secure_aggregation.pb.h"

// What a session is about (SecaggOffer), read and found to be sound in itself.
// Whether one wants to take part in it is another question: round 0 of the
// client. A value; const access from several threads is safe.

namespace mledge::secagg {

inline constexpr size_t kMaximumOfferSize = 256 * 1024;
inline constexpr uint32_t kMaximumStaleness = 1000;

struct OfferSection {
  int64_t length = 0;
  Modulus modulus;
  bool operator==(const OfferSection&) const = default;
};

struct Offer {
  std::string bytes;  // as it travels
  Digest hash;        // H(offer)

  AgreementSuite agreement = AgreementSuite::kX25519;
  CipherSuite cipher = CipherSuite::kAes128Ctr;
  uint64_t session_number = 0;
  Digest task;
  Digest package;
  VersionLogHead version_log;
  Digest head_before_entries;
  std::vector<Digest> entries;  // the last ones of the log
  uint32_t maximum_staleness = 0;
  double corrupt_fraction = 0;
  double dropout_fraction = 0;
  uint32_t least_devices = 0;
  uint32_t least_alive = 0;
  std::vector<OfferSection> sections;
  absl::Time expires;

  // INVALID_ARGUMENT names the field that is missing, malformed or out of
  // range. UNIMPLEMENTED: a suite or protocol version that is not spoken here.
  static absl::StatusOr<Offer> Parse(std::string_view bytes);
  // The same of a message that is about to be offered.
  static absl::StatusOr<Offer> Make(const v1::SecaggOffer& message);

  uint64_t current_version() const { return version_log.length - 1; }
  // Whether a device that trained from this version may take part.
  bool AllowsBaseVersion(uint64_t version) const {
    return version <= current_version() &&
           current_version() - version <= maximum_staleness;
  }
  // The entry of such a version in the version log.
  // Precondition: AllowsBaseVersion(version).
  const Digest& EntryOf(uint64_t version) const {
    return entries[entries.size() - 1 - (current_version() - version)];
  }
  // Bytes of a masked input: the packed sections, each from a whole byte on.
  int64_t masked_input_size() const;
  int64_t coordinates() const;
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_OFFER_H_
