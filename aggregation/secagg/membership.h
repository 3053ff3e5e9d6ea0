#ifndef MLEDGE_AGGREGATION_SECAGG_MEMBERSHIP_H_
#define MLEDGE_AGGREGATION_SECAGG_MEMBERSHIP_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/core/sha256.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/private_key.h"
#include "mledge/identity/public_key.h"
#include "mledge/identity/revocation_list.h"

// Who may be a member of a session, and what its signature is worth. The two
// ends see this through interfaces only so that a bench can measure the
// protocol without identities (unauthenticated.h, which nothing that ships
// includes); CertificateMembers is what devices and coordinators use.

namespace mledge::secagg {

// Somebody whose certificates were believed.
struct MemberIdentity {
  std::string id;
  // Of its certificate. None only without identities.
  std::optional<PublicKey> key;
};

class MemberVerifier {
 public:
  virtual ~MemberVerifier() = default;

  // Whether these certificates (DER, the member's first) are those of a device
  // that may take part at `now`. PERMISSION_DENIED: foreign or forged chain,
  // another role, expired, revoked. FAILED_PRECONDITION: the revocation list is
  // stale. INVALID_ARGUMENT: malformed.
  virtual absl::StatusOr<MemberIdentity> Identify(
      std::span<const std::string> certificates, absl::Time now) = 0;

  // PERMISSION_DENIED: `message` was not signed by the member. Several threads
  // may ask this at once, as long as nobody asks anything else.
  virtual absl::Status CheckSignature(const MemberIdentity& member,
                                      std::string_view message,
                                      std::string_view signature) = 0;
};

// A device's own certificates and key.
class MemberSigner {
 public:
  virtual ~MemberSigner() = default;
  virtual const std::string& id() const = 0;
  virtual const std::vector<std::string>& certificates() const = 0;  // DER
  virtual std::string Sign(std::string_view message) const = 0;
};

// Certificates under one root, a revocation list, and what was verified before:
// a certificate is verified once, and afterwards only looked up, by its hash,
// as long as the list stays the same. Used by one thread at a time; one object
// may serve any number of sessions.
class CertificateMembers final : public MemberVerifier {
 public:
  // `issuers`: the registrar's certificates, which members need not send.
  // `list_maximum_age`: an older list is stale whatever it says itself.
  CertificateMembers(Certificate root, std::vector<Certificate> issuers,
                     RevocationList list, absl::Duration list_maximum_age);

  // Replaces the list; forgets nothing, because each use asks the list.
  // PERMISSION_DENIED: its number is below that of the present one, which
  // stays: somebody replays an old list.
  absl::Status SetRevocationList(RevocationList list);
  uint64_t list_number() const { return list_.number(); }

  absl::StatusOr<MemberIdentity> Identify(
      std::span<const std::string> certificates, absl::Time now) override;
  absl::Status CheckSignature(const MemberIdentity& member,
                              std::string_view message,
                              std::string_view signature) override;

  // Signatures of any kind that were verified so far.
  int64_t signatures_verified() const { return *signatures_verified_; }

 private:
  struct Verified {
    Certificate certificate;
    MemberIdentity member;
    absl::Time valid_from;
    absl::Time valid_until;
  };

  const Certificate root_;
  const std::vector<Certificate> issuers_;
  RevocationList list_;
  const absl::Duration list_maximum_age_;
  absl::flat_hash_map<Digest, Verified> verified_;
  // Not in place, so that the object can be moved.
  std::unique_ptr<std::atomic<int64_t>> signatures_verified_ =
      std::make_unique<std::atomic<int64_t>>(0);
};

class CertificateSigner final : public MemberSigner {
 public:
  // `certificates`: the device's, then issuers that others may lack.
  // INVALID_ARGUMENT: none, not a device's, or another key's.
  static absl::StatusOr<std::unique_ptr<CertificateSigner>> Create(
      std::span<const Certificate> certificates, PrivateKey key);

  const std::string& id() const override { return id_; }
  const std::vector<std::string>& certificates() const override {
    return certificates_;
  }
  std::string Sign(std::string_view message) const override {
    return key_.Sign(message);
  }

 private:
  CertificateSigner(std::string id, std::vector<std::string> certificates,
                    PrivateKey key)
      : id_(std::move(id)),
        certificates_(std::move(certificates)),
        key_(std::move(key)) {}

  const std::string id_;
  const std::vector<std::string> certificates_;
  const PrivateKey key_;
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_MEMBERSHIP_H_
