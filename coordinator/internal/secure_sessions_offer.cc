#include <array>
#include <utility>

#include "mledge/coordinator/internal/secure_sessions.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/status_macros.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/revocation_list.h"

// How a session begins: the newest revocation list, the base version on the
// registrar's log, the offer.

namespace mledge {
namespace {

// A list that the registrar made longer ago is not offered to devices, who
// would not take it.
constexpr absl::Duration kOldestRevocationList = absl::Hours(48);

uint32_t Millionths(double fraction) {
  return static_cast<uint32_t>(fraction * 1e6 + 0.5);
}

}  // namespace

// The newest one, for the coordinator's own checks and for devices.
absl::Status SecureSessions::TakeRevocationList(absl::Time now,
                                                v1::SignedMessage list) {
  const SecureAggregationServices& services = *environment_.services;
  MLEDGE_ASSIGN_OR_RETURN(const Certificate root,
                          Certificate::FromPem(services.root_pem));
  MLEDGE_ASSIGN_OR_RETURN(
      RevocationList parsed,
      RevocationList::Parse(list, root, now,
                            members_ == nullptr ? 0 : members_->list_number()));
  if (members_ == nullptr) {
    std::vector<Certificate> issuers;
    for (const std::string& pem : services.issuers_pem) {
      MLEDGE_ASSIGN_OR_RETURN(Certificate issuer, Certificate::FromPem(pem));
      issuers.push_back(std::move(issuer));
    }
    members_ = std::make_unique<secagg::CertificateMembers>(
        root, std::move(issuers), std::move(parsed), kOldestRevocationList);
  } else {
    MLEDGE_RETURN_IF_ERROR(members_->SetRevocationList(std::move(parsed)));
  }
  revocation_list_ = std::move(list);
  v1::SecureAggregationResponse response;
  *response.mutable_revocation_list() = *revocation_list_;
  streams_.SendToAll(response);
  return absl::OkStatus();
}

void SecureSessions::OnRevocationList(absl::Time now,
                                      absl::StatusOr<v1::SignedMessage> list) {
  const absl::Status taken =
      list.ok() ? TakeRevocationList(now, *std::move(list))
                : Annotate(list.status(), "the registrar's revocation list");
  if (!taken.ok()) {
    GiveUp(taken);
    return;
  }
  AppendBaseVersion(now);
}

// Devices want to see their base version in the registrar's log.
void SecureSessions::AppendBaseVersion(absl::Time now) {
  const std::vector<Digest>& entries = session_->version_entries;
  environment_.services->witness->AppendVersion(
      options_.task, entries.size() - 1, entries.back(),
      InSession<VersionLogHead>(
          now, [this](absl::Time later, absl::StatusOr<VersionLogHead> head) {
            Offer(later, std::move(head));
          }));
}

absl::StatusOr<secagg::Offer> SecureSessions::MakeOffer(
    absl::Time now, const VersionLogHead& head) const {
  const std::vector<Digest>& entries = session_->version_entries;
  v1::SecaggOffer offer;
  offer.set_protocol_version(1);
  offer.set_agreement_suite(1);
  offer.set_cipher_suite(1);
  offer.set_session_number(session_->job.session_number);
  offer.set_task_sha256(options_.task.ToBytes());
  offer.set_package_sha256(options_.package.ToBytes());
  *offer.mutable_version_log() = head.ToProto();
  Digest before = EmptyVersionLog(options_.task);
  for (size_t version = 0; version + 1 < entries.size(); ++version) {
    before = ExtendVersionLog(options_.task, version, before, entries[version]);
  }
  offer.set_head_before_entries(before.ToBytes());
  offer.add_entries(entries.back().ToBytes());
  offer.set_corrupt_ppm(Millionths(options_.server.corrupt_fraction));
  offer.set_dropout_ppm(Millionths(options_.server.dropout_fraction));
  const Kind& kind = KindOfSession();
  offer.set_least_devices(static_cast<uint32_t>(kind.terms.least_devices));
  offer.set_least_alive(static_cast<uint32_t>(kind.terms.least_alive));
  for (const secagg::OfferSection& section : kind.codec.sections()) {
    v1::SecaggOffer::Section& added = *offer.add_sections();
    added.set_length(static_cast<uint64_t>(section.length));
    added.set_modulus_bits(static_cast<uint32_t>(section.modulus.bits()));
  }
  offer.set_expires_unix_milliseconds(
      absl::ToUnixMillis(now + LifetimeOf(options_.server)));
  std::array<uint8_t, 32> nonce;
  SystemSecretRandom().Fill(nonce);
  offer.set_nonce(nonce.data(), nonce.size());
  return secagg::Offer::Make(offer);
}

void SecureSessions::Offer(absl::Time now,
                           absl::StatusOr<VersionLogHead> head) {
  const absl::Status begun = [&]() -> absl::Status {
    if (!head.ok()) return Annotate(head.status(), "the log of versions");
    MLEDGE_ASSIGN_OR_RETURN(secagg::Offer offer, MakeOffer(now, *head));
    secagg::ServerOptions options = options_.server;
    options.maximum_devices =
        static_cast<int64_t>(session_->job.members.size());
    options.largest_group = KindOfSession().terms.largest_group;
    MLEDGE_ASSIGN_OR_RETURN(
        server_, secagg::SecaggServer::Create(
                     options, std::move(offer),
                     {.members = members_.get(),
                      .pool = environment_.pool,
                      .cryptography = environment_.services->cryptography}));
    return absl::OkStatus();
  }();
  if (!begun.ok()) {
    GiveUp(begun);
    return;
  }
  secagg::ServerEffects effects = server_->Start(now);
  for (const auto& [assignment, device] : session_->job.members) {
    if (!streams_.Has(assignment)) continue;
    for (secagg::ServerEffect& effect :
         server_->OnConnected(now, device).effects) {
      effects.push_back(std::move(effect));
    }
  }
  Apply(now, std::move(effects));
}

}  // namespace mledge
