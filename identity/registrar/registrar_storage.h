#ifndef MLEDGE_IDENTITY_REGISTRAR_REGISTRAR_STORAGE_H_
#define MLEDGE_IDENTITY_REGISTRAR_REGISTRAR_STORAGE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/core/sha256.h"
#include "mledge/identity/identity.h"
#include "mledge/identity/witness.h"

// Where the registrar keeps what it must never forget. Implementations:
// MemoryRegistrarStorage (tests and the simulator) and SqliteRegistrarStorage
// (identity/storage). The registrar remembers nothing beside it: every decision
// reads here, so that a write whose outcome is unknown leaves no wrong belief.
// Used by one thread at a time.

namespace mledge {

// A certificate that was issued.
struct IssuedCertificate {
  std::string serial;  // as Certificate::serial()
  Identity identity;
  absl::Time issued_at;
  absl::Time not_after;
  std::string issued_by;  // "operator alice", "device device-7" for a renewal
  std::string certificate_der;

  bool operator==(const IssuedCertificate&) const = default;
};

// One entry of the list of what no longer holds: a serial, or an identity.
struct Revocation {
  std::string serial;  // empty: `identity` as a whole
  std::optional<Identity> identity;
  // When a serial's certificate expires and the entry can be left out;
  // infinite future when the registrar does not know the certificate.
  absl::Time not_after = absl::InfiniteFuture();
  absl::Time revoked_at;
  std::string revoked_by;
  std::string reason;

  bool operator==(const Revocation&) const = default;
};

struct StoredRevocationList {
  uint64_t number = 0;
  absl::Time issued;
  std::string signed_message;  // a serialized SignedMessage

  bool operator==(const StoredRevocationList&) const = default;
};

// What is known of a task as a whole.
struct WitnessedTask {
  Digest task;
  uint64_t last_session_number = 0;
  // Days since the epoch, UTC, of the last session, and the sessions that it
  // has had.
  int64_t day = 0;
  int64_t sessions_that_day = 0;

  bool operator==(const WitnessedTask&) const = default;
};

// A head and the entry that led to it.
struct StoredVersionLogHead {
  VersionLogHead head;
  Digest entry;

  bool operator==(const StoredVersionLogHead&) const = default;
};

// A right to enroll once, for whoever knows the token of which this is the
// SHA-256.
struct EnrollmentToken {
  Digest token_sha256;
  Identity identity;
  absl::Time expires_at;
  std::string made_by;
  bool used = false;

  bool operator==(const EnrollmentToken&) const = default;
};

// Records that become durable together or not at all. Records with the key of
// an existing one replace it, but statements and heads never change: writing
// one whose key exists is ALREADY_EXISTS.
struct RegistrarTransaction {
  std::optional<IssuedCertificate> issued;
  std::vector<Revocation> revocations;
  std::optional<StoredRevocationList> revocation_list;
  std::optional<WitnessStatement> statement;
  std::optional<SetsStatement> sets_statement;
  std::optional<WitnessedTask> task;
  std::optional<StoredVersionLogHead> version_log_head;
  std::optional<EnrollmentToken> token;
};

class RegistrarStorage {
 public:
  virtual ~RegistrarStorage() = default;

  // OK: on disk, also after a power loss. An error may hide a success, unless
  // it is FAILED_PRECONDITION (another process has taken over) or
  // ALREADY_EXISTS.
  virtual absl::Status Commit(const RegistrarTransaction& transaction) = 0;

  // The rest reads. No value: there is none.
  virtual absl::StatusOr<std::optional<WitnessedTask>> FindTask(
      const Digest& task) = 0;
  virtual absl::StatusOr<std::optional<WitnessStatement>> FindStatement(
      const Digest& task, uint64_t session_number) = 0;
  virtual absl::StatusOr<std::optional<SetsStatement>> FindSetsStatement(
      const Digest& task, uint64_t session_number, uint32_t group) = 0;
  virtual absl::StatusOr<std::optional<StoredVersionLogHead>>
  FindVersionLogHead(const Digest& task) = 0;

  virtual absl::StatusOr<std::optional<IssuedCertificate>> FindIssued(
      const std::string& serial) = 0;
  // Of one identity, or all; in order of issue.
  struct IssuedQuery {
    std::optional<Identity> identity;
    // Leaves out what has expired by then.
    absl::Time valid_at = absl::InfinitePast();
    // Of these, the first `limit` after the first `skip`.
    int64_t skip = 0;
    int64_t limit = 1000;
  };
  virtual absl::StatusOr<std::vector<IssuedCertificate>> ListIssued(
      const IssuedQuery& query) = 0;

  // All of them, serials first, ascending.
  virtual absl::StatusOr<std::vector<Revocation>> ListRevocations() = 0;
  // Whether that serial, or everything of that identity, is revoked.
  virtual absl::StatusOr<bool> IsRevoked(const std::string& serial,
                                         const Identity& identity) = 0;
  // The newest.
  virtual absl::StatusOr<std::optional<StoredRevocationList>>
  FindRevocationList() = 0;

  virtual absl::StatusOr<std::optional<EnrollmentToken>> FindToken(
      const Digest& token_sha256) = 0;
};

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_REGISTRAR_REGISTRAR_STORAGE_H_
