#ifndef MLEDGE_IDENTITY_REGISTRAR_MEMORY_REGISTRAR_STORAGE_H_
#define MLEDGE_IDENTITY_REGISTRAR_MEMORY_REGISTRAR_STORAGE_H_

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "mledge/identity/registrar/registrar_storage.h"

// The registrar's records in memory, for tests and the simulator. A "crash" is
// making a new Registrar on the same storage. Used by one thread at a time.

namespace mledge {

class MemoryRegistrarStorage final : public RegistrarStorage {
 public:
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
  std::vector<IssuedCertificate> issued_;  // in order of issue
  // By serial, or by URI.
  std::map<std::string, Revocation> revoked_serials_;
  std::map<std::string, Revocation> revoked_identities_;
  std::optional<StoredRevocationList> revocation_list_;
  std::map<std::pair<Digest, uint64_t>, WitnessStatement> statements_;
  // By task, session number and group.
  std::map<std::tuple<Digest, uint64_t, uint32_t>, SetsStatement>
      sets_statements_;
  std::map<Digest, WitnessedTask> tasks_;
  // By task and length.
  std::map<std::pair<Digest, uint64_t>, StoredVersionLogHead> heads_;
  std::map<Digest, EnrollmentToken> tokens_;
};

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_REGISTRAR_MEMORY_REGISTRAR_STORAGE_H_
