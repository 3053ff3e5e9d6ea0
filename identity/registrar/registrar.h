#ifndef MLEDGE_IDENTITY_REGISTRAR_REGISTRAR_H_
#define MLEDGE_IDENTITY_REGISTRAR_REGISTRAR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/core/mutex.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/sha256.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/certificate_authority.h"
#include "mledge/identity/certificate_signing_request.h"
#include "mledge/identity/identity.h"
#include "mledge/identity/registrar/registrar_storage.h"
#include "mledge/identity/witness.h"
#include "mledge/identity/witness_key.h"
#include "mledge/v1/signature.pb.h"

// The registrar without network and disk: who may be a device, which
// certificates no longer hold, and the witness that keeps a lying coordinator
// from showing different sessions or models to different devices.
//
// What a call returns is durable: it is committed to the storage first. The
// object remembers nothing between calls beside its keys, so a crash at any
// point is the same as a lost answer, and the caller asks again. Callers have
// been authenticated by whoever calls this (identity/grpc); what they may do is
// decided here. Thread-safe; calls run one at a time.

namespace mledge {

// Who asks: what TLS verified.
struct RegistrarCaller {
  Identity identity;
  std::string serial;  // of the caller's certificate
};

class Registrar {
 public:
  struct Options {
    // Ids of the operators who may issue and revoke, and of the coordinators
    // who may have sessions and versions witnessed.
    std::vector<std::string> operators;
    std::vector<std::string> coordinators;
    // Of the certificates of devices and evaluators.
    absl::Duration certificate_validity = absl::Hours(24 * 90);
    // For so long a revocation list counts; a new one is made when a quarter of
    // it has passed. At least a minute.
    absl::Duration revocation_list_validity = absl::Hours(24);
    // Of one task, each day (UTC). Devices set the same figure against their
    // policy. At least 1.
    int64_t sessions_per_day = 1000;
    // Certificates that one identity may hold at a time; expired and revoked
    // ones do not count.
    int64_t certificates_per_identity = 16;
  };

  struct Dependencies {
    CertificateAuthority authority;
    WitnessKey witness_key;
    RegistrarStorage* storage = nullptr;  // must outlive the registrar
    SecretRandom* random = nullptr;       // likewise; for tokens
  };

  // INVALID_ARGUMENT: options out of range, an authority that is no registrar.
  static absl::StatusOr<std::unique_ptr<Registrar>> Create(
      Options options, Dependencies dependencies);

  const WitnessPublicKey& witness_key() const {
    return witness_key_.public_key();
  }
  const CertificateAuthority& authority() const { return authority_; }

  // Every call below: PERMISSION_DENIED when the caller's role or id may not do
  // it or its certificate is revoked; errors of the storage as they are, and
  // then nothing was promised.

  // A certificate for what the request (PEM) asks to be. An operator: for any
  // device or evaluator. A device or evaluator: for itself. PERMISSION_DENIED:
  // the identity is revoked, or not the caller's. INVALID_ARGUMENT: as
  // ParseCertificateSigningRequest; a role that is not issued over the network.
  // RESOURCE_EXHAUSTED: the identity holds too many valid certificates.
  absl::StatusOr<Certificate> Issue(const RegistrarCaller& caller,
                                    std::string_view csr_pem, absl::Time now);

  // Operators. A one-time token with which `identity` (device or evaluator) may
  // enroll until `expires_at`, 43 characters that are stored as a hash only.
  absl::StatusOr<std::string> CreateToken(const RegistrarCaller& caller,
                                          const Identity& identity,
                                          absl::Time expires_at,
                                          absl::Time now);
  // Anybody with a token. PERMISSION_DENIED (always in the same words): no such
  // token, used, expired, or for another identity than the request's.
  absl::StatusOr<Certificate> Enroll(std::string_view token,
                                     std::string_view csr_pem, absl::Time now);

  // Operators. A serial (as `mledge pki show` prints it), or everything of an
  // identity, for ever. Again is harmless. Returns the number of the list that
  // says so. INVALID_ARGUMENT: no serial; a root or registrar.
  absl::StatusOr<uint64_t> RevokeSerial(const RegistrarCaller& caller,
                                        const std::string& serial,
                                        const std::string& reason,
                                        absl::Time now);
  absl::StatusOr<uint64_t> RevokeIdentity(const RegistrarCaller& caller,
                                          const Identity& identity,
                                          const std::string& reason,
                                          absl::Time now);
  // Operators.
  absl::StatusOr<std::vector<IssuedCertificate>> ListIssued(
      const RegistrarCaller& caller,
      const RegistrarStorage::IssuedQuery& query);
  absl::StatusOr<std::vector<Revocation>> ListRevocations(
      const RegistrarCaller& caller);

  // Everybody: nothing in it is secret.
  absl::StatusOr<v1::SignedMessage> CurrentRevocationList(absl::Time now);

  // Coordinators. Codes as Witness::WitnessDirectory, WitnessSets and
  // AppendVersion; INVALID_ARGUMENT: number 0, a group of a million or more.
  absl::StatusOr<WitnessStatement> WitnessDirectory(
      const RegistrarCaller& caller, const Digest& task,
      uint64_t session_number, const Digest& directory, absl::Time now);
  absl::StatusOr<SetsStatement> WitnessSets(const RegistrarCaller& caller,
                                            const Digest& task,
                                            uint64_t session_number,
                                            uint32_t group,
                                            const Digest& session,
                                            const Digest& sets, absl::Time now);
  absl::StatusOr<VersionLogHead> AppendVersion(const RegistrarCaller& caller,
                                               const Digest& task,
                                               uint64_t version,
                                               const Digest& entry,
                                               absl::Time now);

  // Whether a caller's certificate still holds. PERMISSION_DENIED: it was
  // revoked.
  absl::Status CheckCaller(const RegistrarCaller& caller);

 private:
  Registrar(Options options, Dependencies dependencies);

  absl::Status CheckNotRevoked(const RegistrarCaller& caller)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `named`: the option's list of ids; `what`: its name.
  absl::Status CheckRole(const RegistrarCaller& caller, Role role,
                         const std::vector<std::string>& named,
                         std::string_view what)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckHoldsFewEnough(const Identity& identity, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Certificate> IssueFor(const CertificateSigningRequest& request,
                                       std::string issued_by, absl::Time now,
                                       RegistrarTransaction transaction)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<uint64_t> Revoke(Revocation revocation, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<StoredRevocationList> MakeRevocationList(
      const std::vector<Revocation>& added, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  const CertificateAuthority authority_;
  const WitnessKey witness_key_;
  SecretRandom* const random_;
  Mutex mutex_;
  RegistrarStorage* const storage_ ABSL_PT_GUARDED_BY(mutex_);
};

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_REGISTRAR_REGISTRAR_H_
