#include "mledge/aggregation/secagg/offer.h"

#include "mledge/aggregation/secagg/parameters.h"
#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

constexpr int kMostSections = 16;
constexpr int64_t kMostOffered = int64_t{1} << 33;

absl::Status MalformedOffer(std::string_view field, std::string_view why) {
  return absl::InvalidArgumentError(StrCat("offer: ", field, " ", why));
}

absl::StatusOr<Digest> ReadDigest(std::string_view field,
                                  std::string_view bytes) {
  absl::StatusOr<Digest> digest = Digest::FromBytes(bytes);
  if (!digest.ok()) return MalformedOffer(field, "is no SHA-256");
  return digest;
}

absl::Status ReadVersionLog(const v1::SecaggOffer& message, Offer& offer) {
  if (message.maximum_staleness() > kMaximumStaleness) {
    return MalformedOffer("maximum_staleness",
                          StrCat("exceeds ", kMaximumStaleness, " versions"));
  }
  offer.maximum_staleness = message.maximum_staleness();
  MLEDGE_ASSIGN_OR_RETURN(offer.version_log,
                          VersionLogHead::FromProto(message.version_log()));
  if (offer.version_log.task != offer.task) {
    return MalformedOffer("version_log", "is that of another task");
  }
  MLEDGE_ASSIGN_OR_RETURN(
      offer.head_before_entries,
      ReadDigest("head_before_entries", message.head_before_entries()));
  // As many entries as versions may take part, or all that there are.
  const uint64_t needed = std::min<uint64_t>(
      uint64_t{offer.maximum_staleness} + 1, offer.version_log.length);
  if (static_cast<uint64_t>(message.entries_size()) != needed) {
    return MalformedOffer(
        "entries", StrCat("are ", message.entries_size(), " where ", needed,
                          " base versions may take part"));
  }
  for (const std::string& entry : message.entries()) {
    MLEDGE_ASSIGN_OR_RETURN(offer.entries.emplace_back(),
                            ReadDigest("entries", entry));
  }
  return Annotate(
      offer.version_log.CheckEnd(offer.head_before_entries, offer.entries),
      "offer: version log");
}

absl::Status ReadSections(const v1::SecaggOffer& message, Offer& offer) {
  if (message.sections().empty() || message.sections_size() > kMostSections) {
    return MalformedOffer(
        "sections", StrCat("are ", message.sections_size(), " where 1 to ",
                           kMostSections, " are expected"));
  }
  int64_t coordinates = 0;
  for (const v1::SecaggOffer::Section& section : message.sections()) {
    if (section.length() < 1 ||
        section.length() > static_cast<uint64_t>(kMostOffered)) {
      return MalformedOffer("sections",
                            "has a section without length or too long");
    }
    const absl::StatusOr<Modulus> modulus = Modulus::Create(
        static_cast<int>(std::min(section.modulus_bits(), 99u)));
    if (!modulus.ok())
      return MalformedOffer("sections", ToStdView(modulus.status().message()));
    offer.sections.push_back(
        {static_cast<int64_t>(section.length()), *modulus});
    coordinates += offer.sections.back().length;
  }
  if (coordinates > kMostOffered) {
    return MalformedOffer("sections", "has too many coordinates in all");
  }
  return absl::OkStatus();
}

absl::Status ReadCohort(const v1::SecaggOffer& message, Offer& offer) {
  constexpr uint32_t kMillion = 1'000'000;
  if (message.corrupt_ppm() >= kMillion || message.dropout_ppm() >= kMillion) {
    return MalformedOffer("corrupt_ppm or dropout_ppm",
                          "is not below one million");
  }
  offer.corrupt_fraction = message.corrupt_ppm() / 1e6;
  offer.dropout_fraction = message.dropout_ppm() / 1e6;
  if (message.least_devices() < kFewestClients ||
      message.least_devices() > kMostClients) {
    return MalformedOffer(
        "least_devices",
        StrCat("is not between ", kFewestClients, " and ", kMostClients));
  }
  if (message.least_alive() < 1 ||
      message.least_alive() > message.least_devices()) {
    return MalformedOffer("least_alive", "is not between 1 and least_devices");
  }
  offer.least_devices = message.least_devices();
  offer.least_alive = message.least_alive();
  return absl::OkStatus();
}

absl::StatusOr<Offer> Read(const v1::SecaggOffer& message, std::string bytes) {
  Offer offer;
  if (message.protocol_version() != kProtocolVersion) {
    return absl::UnimplementedError(StrCat(
        "offer: version ", message.protocol_version(),
        " of secure aggregation, where ", kProtocolVersion, " is spoken"));
  }
  MLEDGE_ASSIGN_OR_RETURN(offer.agreement,
                          AgreementSuiteFromNumber(message.agreement_suite()));
  MLEDGE_ASSIGN_OR_RETURN(offer.cipher,
                          CipherSuiteFromNumber(message.cipher_suite()));
  if (message.session_number() == 0)
    return MalformedOffer("session_number", "is 0");
  offer.session_number = message.session_number();
  MLEDGE_ASSIGN_OR_RETURN(offer.task,
                          ReadDigest("task_sha256", message.task_sha256()));
  MLEDGE_ASSIGN_OR_RETURN(
      offer.package, ReadDigest("package_sha256", message.package_sha256()));
  MLEDGE_RETURN_IF_ERROR(ReadVersionLog(message, offer));
  MLEDGE_RETURN_IF_ERROR(ReadCohort(message, offer));
  MLEDGE_RETURN_IF_ERROR(ReadSections(message, offer));
  // Far enough for any clock, and safe to compute with.
  constexpr int64_t kMaximumMilliseconds = int64_t{1} << 45;
  if (message.expires_unix_milliseconds() <= 0 ||
      message.expires_unix_milliseconds() > kMaximumMilliseconds) {
    return MalformedOffer("expires_unix_milliseconds", "is no time");
  }
  offer.expires = absl::FromUnixMillis(message.expires_unix_milliseconds());
  MLEDGE_RETURN_IF_ERROR(ReadDigest("nonce", message.nonce()).status());
  offer.bytes = std::move(bytes);
  offer.hash = Sha256Of(offer.bytes);
  return offer;
}

}  // namespace

absl::StatusOr<Offer> Offer::Parse(std::string_view bytes) {
  v1::SecaggOffer message;
  MLEDGE_RETURN_IF_ERROR(
      ParseExactly("offer", bytes, kMaximumOfferSize, message));
  return Read(message, std::string(bytes));
}

absl::StatusOr<Offer> Offer::Make(const v1::SecaggOffer& message) {
  return Parse(message.SerializeAsString());
}

int64_t Offer::masked_input_size() const {
  int64_t size = 0;
  for (const OfferSection& section : sections) {
    size += section.modulus.PackedSize(section.length);
  }
  return size;
}

int64_t Offer::coordinates() const {
  int64_t count = 0;
  for (const OfferSection& section : sections) count += section.length;
  return count;
}

}  // namespace mledge::secagg
