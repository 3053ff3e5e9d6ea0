#ifndef MLEDGE_CLIENT_STORAGE_JOURNAL_FORMAT_H_
#define MLEDGE_CLIENT_STORAGE_JOURNAL_FORMAT_H_

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/session_effects.h"
#include "mledge/core/secret_bytes.h"
#include "mledge/core/sha256.h"

// How the journal lies on the disk: its tables through all formats (PRAGMA
// user_version), and the values inside the sealed records. A format that was
// released is never changed. Pure functions.

namespace mledge {

// Steps from each format to the next, as long as nothing was sealed; a new file
// is format 0.
inline constexpr std::array<const char*, 3> kJournalMigrations = {
    R"(
  CREATE TABLE owner (device TEXT NOT NULL);
  CREATE TABLE journal (
    slot INTEGER PRIMARY KEY CHECK (slot = 1),
    assignment BLOB NOT NULL,
    update_sha256 BLOB,
    update_size INTEGER);
)",
    R"(
  CREATE TABLE secagg (
    task BLOB PRIMARY KEY,
    journal BLOB NOT NULL,
    masked_sha256 BLOB);
  CREATE TABLE revocation_list (
    slot INTEGER PRIMARY KEY CHECK (slot = 1),
    number INTEGER NOT NULL);
)",
    R"(
  CREATE TABLE privacy (
    task BLOB PRIMARY KEY,
    record BLOB NOT NULL);
)"};
// Format 4 holds the same rows, sealed.
inline constexpr int kJournalFormat = 4;
inline constexpr const char* kSealedTables = R"(
  CREATE TABLE state (
    slot INTEGER PRIMARY KEY CHECK (slot = 1),
    device TEXT NOT NULL,
    salt BLOB NOT NULL,
    key_check BLOB NOT NULL) STRICT;
  CREATE TABLE records (name TEXT PRIMARY KEY, sealed BLOB NOT NULL) STRICT;
)";
inline constexpr const char* kDropUnsealedTables = R"(
  DROP TABLE owner;
  DROP TABLE journal;
  DROP TABLE secagg;
  DROP TABLE revocation_list;
  DROP TABLE privacy;
)";

// Values of records. DATA_LOSS: not such a value; cannot happen to one that was
// opened, unless another program wrote it.
struct UnsealedUpdate {
  std::string sha256;  // 32 bytes
  uint64_t size_in_bytes = 0;
};
std::string EncodeAssignment(std::string_view assignment,
                             const std::optional<UnsealedUpdate>& update);
absl::StatusOr<JournalRecord> DecodeAssignment(std::span<const uint8_t> value);

// `masked_sha256`: 32 bytes, or none.
SecretBytes EncodeSecagg(std::span<const uint8_t> journal,
                         std::string_view masked_sha256);
absl::Status DecodeSecagg(std::span<const uint8_t> value, SecretBytes* journal,
                          std::optional<Digest>* masked_input);

std::string EncodePrivacyRecord(const Digest& task, std::string_view record);
absl::StatusOr<std::pair<Digest, std::string>> DecodePrivacyRecord(
    std::span<const uint8_t> value);

std::string EncodeNumber(uint64_t number);
absl::StatusOr<uint64_t> DecodeNumber(std::span<const uint8_t> value);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_STORAGE_JOURNAL_FORMAT_H_
