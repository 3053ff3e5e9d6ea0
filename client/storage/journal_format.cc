#include "mledge/client/storage/journal_format.h"

#include <algorithm>
#include <cstddef>

#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr size_t kDigestSize = 32;
constexpr size_t kNumberSize = 8;

std::string_view AsText(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

absl::Status Unreadable() {
  return absl::DataLossError(
      "a record of the device's journal is unreadable: it was written by "
      "another program");
}

// The byte in front says whether `size` more follow: they are taken off
// `value`.
absl::StatusOr<std::optional<std::string_view>> TakeOptional(
    std::span<const uint8_t>& value, size_t size) {
  if (value.empty() || value[0] > 1) return Unreadable();
  const bool is_there = value[0] == 1;
  value = value.subspan(1);
  if (!is_there) return std::nullopt;
  if (value.size() < size) return Unreadable();
  const std::string_view taken = AsText(value.first(size));
  value = value.subspan(size);
  return taken;
}

}  // namespace

std::string EncodeNumber(uint64_t number) {
  std::string value;
  for (size_t i = 0; i < kNumberSize; ++i) {
    value.push_back(static_cast<char>(number >> (8 * i)));
  }
  return value;
}

absl::StatusOr<uint64_t> DecodeNumber(std::span<const uint8_t> value) {
  if (value.size() != kNumberSize) return Unreadable();
  uint64_t number = 0;
  for (size_t i = 0; i < kNumberSize; ++i) {
    number |= uint64_t{value[i]} << (8 * i);
  }
  return number;
}

std::string EncodeAssignment(std::string_view assignment,
                             const std::optional<UnsealedUpdate>& update) {
  if (!update.has_value()) {
    return StrCat(std::string_view("\0", 1), assignment);
  }
  return StrCat("\1", update->sha256, EncodeNumber(update->size_in_bytes),
                assignment);
}

absl::StatusOr<JournalRecord> DecodeAssignment(std::span<const uint8_t> value) {
  MLEDGE_ASSIGN_OR_RETURN(const std::optional<std::string_view> update,
                          TakeOptional(value, kDigestSize + kNumberSize));
  JournalRecord record;
  if (update.has_value()) {
    FinishedUpdate finished;
    MLEDGE_ASSIGN_OR_RETURN(finished.content_sha256,
                            Digest::FromBytes(update->substr(0, kDigestSize)));
    const std::string_view size = update->substr(kDigestSize);
    MLEDGE_ASSIGN_OR_RETURN(
        finished.size_in_bytes,
        DecodeNumber(
            {reinterpret_cast<const uint8_t*>(size.data()), size.size()}));
    record.update = finished;
  }
  if (!record.assignment.ParseFromArray(value.data(),
                                        static_cast<int>(value.size()))) {
    return Unreadable();
  }
  return record;
}

std::string EncodePrivacyRecord(const Digest& task, std::string_view record) {
  return StrCat(task.ToBytes(), record);
}

absl::StatusOr<std::pair<Digest, std::string>> DecodePrivacyRecord(
    std::span<const uint8_t> value) {
  if (value.size() < kDigestSize) return Unreadable();
  const std::string_view text = AsText(value);
  MLEDGE_ASSIGN_OR_RETURN(const Digest task,
                          Digest::FromBytes(text.substr(0, kDigestSize)));
  return std::pair(task, std::string(text.substr(kDigestSize)));
}

SecretBytes EncodeSecagg(std::span<const uint8_t> journal,
                         std::string_view masked_sha256) {
  CHECK(masked_sha256.empty() || masked_sha256.size() == kDigestSize);
  SecretBytes value(1 + masked_sha256.size() + journal.size());
  const std::span<uint8_t> bytes = value.mutable_bytes(RevealSecret());
  bytes[0] = masked_sha256.empty() ? 0 : 1;
  std::copy(
      journal.begin(), journal.end(),
      std::copy(masked_sha256.begin(), masked_sha256.end(), bytes.begin() + 1));
  return value;
}

absl::Status DecodeSecagg(std::span<const uint8_t> value, SecretBytes* journal,
                          std::optional<Digest>* masked_input) {
  MLEDGE_ASSIGN_OR_RETURN(const std::optional<std::string_view> masked,
                          TakeOptional(value, kDigestSize));
  masked_input->reset();
  if (masked.has_value()) {
    MLEDGE_ASSIGN_OR_RETURN(*masked_input, Digest::FromBytes(*masked));
  }
  *journal = SecretBytes::CopyFrom(value);
  return absl::OkStatus();
}

}  // namespace mledge
