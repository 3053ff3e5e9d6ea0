#ifndef MLEDGE_IDENTITY_STORAGE_SQLITE_REGISTRAR_STORAGE_H_
#define MLEDGE_IDENTITY_STORAGE_SQLITE_REGISTRAR_STORAGE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mledge/core/storage/database.h"
#include "mledge/core/storage/directory_lock.h"
#include "mledge/core/storage/owner_epoch.h"
#include "mledge/identity/registrar/registrar_storage.h"

// The registrar's state directory:
//
//   lock          held by the running process
//   registrar.db  records (SQLite, WAL, synchronous=FULL)
//
// Opening moves the owner epoch on; every write transaction looks whether it is
// still its own, so that a registrar that was thought dead and wakes up can
// sign nothing more. Used by one thread at a time.

namespace mledge {

class SqliteRegistrarStorage final : public RegistrarStorage {
 public:
  // Creates what is missing and migrates what is old. PERMISSION_DENIED: not
  // writable. FAILED_PRECONDITION: in use by another process, or written by a
  // newer program. DATA_LOSS: damaged. RESOURCE_EXHAUSTED: disk full.
  static absl::StatusOr<std::unique_ptr<SqliteRegistrarStorage>> Open(
      const std::string& directory);

  absl::Status Commit(const RegistrarTransaction& transaction) override;
  absl::StatusOr<std::optional<WitnessedTask>> FindTask(
      const Digest& task) override;
  absl::StatusOr<std::optional<WitnessStatement>> FindStatement(
      const Digest& task, uint64_t session_number) override;
  absl::StatusOr<std::optional<SetsStatement>> FindSetsStatement(
      const Digest& task, uint64_t session_number, uint32_t group) override;
  absl::StatusOr<std::optional<StoredVersionLogHead>> FindVersionLogHead(
      const Digest& task) override;
  absl::StatusOr<std::optional<IssuedCertificate>> FindIssued(
      const std::string& serial) override;
  absl::StatusOr<std::vector<IssuedCertificate>> ListIssued(
      const IssuedQuery& query) override;
  absl::StatusOr<std::vector<Revocation>> ListRevocations() override;
  absl::StatusOr<bool> IsRevoked(const std::string& serial,
                                 const Identity& identity) override;
  absl::StatusOr<std::optional<StoredRevocationList>> FindRevocationList()
      override;
  absl::StatusOr<std::optional<EnrollmentToken>> FindToken(
      const Digest& token_sha256) override;

 private:
  SqliteRegistrarStorage(std::unique_ptr<DirectoryLock> lock,
                         std::unique_ptr<Database> database, OwnerEpoch owner);
  absl::Status Write(const RegistrarTransaction& transaction);
  absl::Status Write(const IssuedCertificate& issued);
  absl::Status Write(const Revocation& revocation);
  absl::Status Write(const StoredRevocationList& list);
  absl::Status Write(const WitnessStatement& statement);
  absl::Status Write(const SetsStatement& statement);
  absl::Status Write(const WitnessedTask& task);
  absl::Status Write(const StoredVersionLogHead& head);
  absl::Status Write(const EnrollmentToken& token);

  const std::unique_ptr<DirectoryLock> lock_;
  const std::unique_ptr<Database> database_;
  const OwnerEpoch owner_;
};

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_STORAGE_SQLITE_REGISTRAR_STORAGE_H_
