#include "mledge/identity/registrar/memory_registrar_storage.h"

#include <algorithm>

#include "mledge/core/strings.h"

namespace mledge {
namespace {

template <typename Map, typename Key>
auto Find(const Map& map, const Key& key)
    -> std::optional<typename Map::mapped_type> {
  const auto found = map.find(key);
  if (found == map.end()) return std::nullopt;
  return found->second;
}

}  // namespace

absl::Status MemoryRegistrarStorage::Commit(
    const RegistrarTransaction& transaction) {
  const auto& [issued, revocations, list, statement, sets, task, head, token] =
      transaction;
  // All that can fail, first.
  if (statement.has_value() &&
      statements_.contains({statement->task, statement->session_number})) {
    return absl::AlreadyExistsError(StrCat(
        "session ", statement->session_number, " has its statement already"));
  }
  if (sets.has_value() &&
      sets_statements_.contains(
          {sets->task, sets->session_number, sets->group})) {
    return absl::AlreadyExistsError(StrCat("group ", sets->group,
                                           " of session ", sets->session_number,
                                           " has its statement already"));
  }
  if (head.has_value() &&
      heads_.contains({head->head.task, head->head.length})) {
    return absl::AlreadyExistsError(
        StrCat("the log has a head of length ", head->head.length, " already"));
  }
  if (issued.has_value()) issued_.push_back(*issued);
  for (const Revocation& revocation : revocations) {
    if (revocation.serial.empty()) {
      revoked_identities_[revocation.identity->ToUri()] = revocation;
    } else {
      revoked_serials_[revocation.serial] = revocation;
    }
  }
  if (list.has_value()) revocation_list_ = list;
  if (statement.has_value()) {
    statements_[{statement->task, statement->session_number}] = *statement;
  }
  if (sets.has_value()) {
    sets_statements_[{sets->task, sets->session_number, sets->group}] = *sets;
  }
  if (task.has_value()) tasks_[task->task] = *task;
  if (head.has_value()) heads_[{head->head.task, head->head.length}] = *head;
  if (token.has_value()) tokens_[token->token_sha256] = *token;
  return absl::OkStatus();
}

absl::StatusOr<std::optional<WitnessedTask>> MemoryRegistrarStorage::FindTask(
    const Digest& task) {
  return Find(tasks_, task);
}

absl::StatusOr<std::optional<WitnessStatement>>
MemoryRegistrarStorage::FindStatement(const Digest& task,
                                      uint64_t session_number) {
  return Find(statements_, std::pair(task, session_number));
}

absl::StatusOr<std::optional<SetsStatement>>
MemoryRegistrarStorage::FindSetsStatement(const Digest& task,
                                          uint64_t session_number,
                                          uint32_t group) {
  return Find(sets_statements_, std::tuple(task, session_number, group));
}

absl::StatusOr<std::optional<StoredVersionLogHead>>
MemoryRegistrarStorage::FindVersionLogHead(const Digest& task) {
  auto after = heads_.upper_bound({task, UINT64_MAX});
  if (after == heads_.begin() || (--after)->first.first != task) {
    return std::nullopt;
  }
  return after->second;
}

absl::StatusOr<std::optional<IssuedCertificate>>
MemoryRegistrarStorage::FindIssued(const std::string& serial) {
  for (const IssuedCertificate& issued : issued_) {
    if (issued.serial == serial) return issued;
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<IssuedCertificate>>
MemoryRegistrarStorage::ListIssued(const IssuedQuery& query) {
  std::vector<IssuedCertificate> found;
  int64_t skip = query.skip;
  for (const IssuedCertificate& issued : issued_) {
    if (static_cast<int64_t>(found.size()) >= query.limit) break;
    if (query.identity.has_value() && issued.identity != *query.identity) {
      continue;
    }
    if (issued.not_after <= query.valid_at) continue;
    if (skip-- > 0) continue;
    found.push_back(issued);
  }
  return found;
}

absl::StatusOr<std::vector<Revocation>>
MemoryRegistrarStorage::ListRevocations() {
  std::vector<Revocation> all;
  for (const auto& [serial, revocation] : revoked_serials_) {
    all.push_back(revocation);
  }
  for (const auto& [uri, revocation] : revoked_identities_) {
    all.push_back(revocation);
  }
  return all;
}

absl::StatusOr<bool> MemoryRegistrarStorage::IsRevoked(
    const std::string& serial, const Identity& identity) {
  return revoked_serials_.contains(serial) ||
         revoked_identities_.contains(identity.ToUri());
}

absl::StatusOr<std::optional<StoredRevocationList>>
MemoryRegistrarStorage::FindRevocationList() {
  return revocation_list_;
}

absl::StatusOr<std::optional<EnrollmentToken>>
MemoryRegistrarStorage::FindToken(const Digest& token_sha256) {
  return Find(tokens_, token_sha256);
}

}  // namespace mledge
