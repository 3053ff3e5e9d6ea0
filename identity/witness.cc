#include "mledge/identity/witness.h"

#include <limits>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/internal/signed_bytes.h"

namespace mledge {
namespace {

namespace internal = identity_internal;

constexpr std::string_view kWitnessDomain{"mledge/v1/witness\x00", 18};
constexpr std::string_view kEmptyLog{"mledge/v1/version-log\x00", 22};
constexpr std::string_view kLogEntry{"mledge/v1/version-log\x01", 22};

std::string SignedBytes(std::string_view context, const Digest& task,
                        uint64_t number, const Digest& value, absl::Time time) {
  std::string bytes(kWitnessDomain);
  internal::AppendField(bytes, context);
  internal::AppendField(bytes, task.ToBytes());
  internal::AppendU64(bytes, number);
  internal::AppendField(bytes, value.ToBytes());
  internal::AppendU64(bytes, static_cast<uint64_t>(absl::ToUnixMillis(time)));
  return bytes;
}

std::string SignedBytes(const WitnessStatement& statement) {
  return SignedBytes("session-directory", statement.task,
                     statement.session_number, statement.directory,
                     statement.time);
}

std::string SignedBytes(const SetsStatement& statement) {
  std::string bytes(kWitnessDomain);
  internal::AppendField(bytes, "session-sets");
  internal::AppendField(bytes, statement.task.ToBytes());
  internal::AppendU64(bytes, statement.session_number);
  internal::AppendU64(bytes, statement.group);
  internal::AppendField(bytes, statement.session.ToBytes());
  internal::AppendField(bytes, statement.sets.ToBytes());
  internal::AppendU64(
      bytes, static_cast<uint64_t>(absl::ToUnixMillis(statement.time)));
  return bytes;
}

std::string SignedBytes(const VersionLogHead& head) {
  return SignedBytes("version-log-head", head.task, head.length, head.head,
                     head.time);
}

// Reads what the messages have in common.
struct Fields {
  Digest task;
  Digest value;
  absl::Time time;
};

absl::StatusOr<Fields> ReadFields(std::string_view what, std::string_view task,
                                  uint64_t number, std::string_view value,
                                  int64_t milliseconds,
                                  std::string_view signature) {
  Fields fields;
  absl::StatusOr<Digest> digest = Digest::FromBytes(task);
  if (!digest.ok()) return Annotate(digest.status(), StrCat(what, ", task"));
  fields.task = *digest;
  digest = Digest::FromBytes(value);
  if (!digest.ok()) return Annotate(digest.status(), StrCat(what, ", value"));
  fields.value = *digest;
  if (number == 0) {
    return absl::InvalidArgumentError(
        StrCat(what, ": its number is 0; they count from 1"));
  }
  if (milliseconds < 0 || milliseconds > internal::kLatestMilliseconds) {
    return absl::InvalidArgumentError(
        StrCat(what, ": ", milliseconds, " ms is no time"));
  }
  fields.time = absl::FromUnixMillis(milliseconds);
  if (signature.size() != kWitnessSignatureBytes) {
    return absl::InvalidArgumentError(StrCat(
        what, ": its signature has ", signature.size(), " bytes, not 64"));
  }
  return fields;
}

}  // namespace

absl::Status WitnessStatement::Verify(const WitnessPublicKey& key) const {
  return Annotate(key.Verify(SignedBytes(*this), signature),
                  StrCat("witness of session ", session_number));
}

void WitnessStatement::Sign(const WitnessKey& key) {
  signature = key.Sign(SignedBytes(*this));
}

v1::WitnessStatement WitnessStatement::ToProto() const {
  v1::WitnessStatement message;
  message.set_task_sha256(task.ToBytes());
  message.set_session_number(session_number);
  message.set_directory_sha256(directory.ToBytes());
  message.set_unix_milliseconds(absl::ToUnixMillis(time));
  message.set_signature(signature);
  return message;
}

absl::StatusOr<WitnessStatement> WitnessStatement::FromProto(
    const v1::WitnessStatement& message) {
  MLEDGE_ASSIGN_OR_RETURN(
      const Fields fields,
      ReadFields("witness statement", message.task_sha256(),
                 message.session_number(), message.directory_sha256(),
                 message.unix_milliseconds(), message.signature()));
  return WitnessStatement{fields.task, message.session_number(), fields.value,
                          fields.time, message.signature()};
}

absl::Status SetsStatement::Verify(const WitnessPublicKey& key) const {
  return Annotate(key.Verify(SignedBytes(*this), signature),
                  StrCat("witness of the sets of session ", session_number,
                         ", group ", group));
}

void SetsStatement::Sign(const WitnessKey& key) {
  signature = key.Sign(SignedBytes(*this));
}

v1::SetsStatement SetsStatement::ToProto() const {
  v1::SetsStatement message;
  message.set_task_sha256(task.ToBytes());
  message.set_session_number(session_number);
  message.set_group(group);
  message.set_session_sha256(session.ToBytes());
  message.set_sets_sha256(sets.ToBytes());
  message.set_unix_milliseconds(absl::ToUnixMillis(time));
  message.set_signature(signature);
  return message;
}

absl::StatusOr<SetsStatement> SetsStatement::FromProto(
    const v1::SetsStatement& message) {
  constexpr std::string_view kWhat = "statement over sets";
  MLEDGE_ASSIGN_OR_RETURN(
      const Fields fields,
      ReadFields(kWhat, message.task_sha256(), message.session_number(),
                 message.sets_sha256(), message.unix_milliseconds(),
                 message.signature()));
  const absl::StatusOr<Digest> session =
      Digest::FromBytes(message.session_sha256());
  if (!session.ok()) {
    return Annotate(session.status(), StrCat(kWhat, ", session"));
  }
  return SetsStatement{fields.task,        message.session_number(),
                       message.group(),    *session,
                       fields.value,       fields.time,
                       message.signature()};
}

absl::Status VersionLogHead::Verify(const WitnessPublicKey& key) const {
  return Annotate(key.Verify(SignedBytes(*this), signature),
                  StrCat("head of a version log of length ", length));
}

void VersionLogHead::Sign(const WitnessKey& key) {
  signature = key.Sign(SignedBytes(*this));
}

v1::VersionLogHead VersionLogHead::ToProto() const {
  v1::VersionLogHead message;
  message.set_task_sha256(task.ToBytes());
  message.set_length(length);
  message.set_head_sha256(head.ToBytes());
  message.set_unix_milliseconds(absl::ToUnixMillis(time));
  message.set_signature(signature);
  return message;
}

absl::StatusOr<VersionLogHead> VersionLogHead::FromProto(
    const v1::VersionLogHead& message) {
  MLEDGE_ASSIGN_OR_RETURN(
      const Fields fields,
      ReadFields("version log head", message.task_sha256(), message.length(),
                 message.head_sha256(), message.unix_milliseconds(),
                 message.signature()));
  return VersionLogHead{fields.task, message.length(), fields.value,
                        fields.time, message.signature()};
}

absl::Status VersionLogHead::CheckEnd(const Digest& before,
                                      std::span<const Digest> entries) const {
  if (entries.size() > length) {
    return absl::PermissionDeniedError(StrCat("a version log of ", length,
                                              " versions does not end with ",
                                              entries.size()));
  }
  uint64_t version = length - entries.size();
  Digest current = before;
  // The head before the first version is no free choice.
  if (version == 0 && before != EmptyVersionLog(task)) {
    return absl::PermissionDeniedError(
        "the version log does not start where an empty one of its task does");
  }
  for (const Digest& entry : entries) {
    current = ExtendVersionLog(task, version++, current, entry);
  }
  if (current != head) {
    return absl::PermissionDeniedError(
        StrCat("the head of the version log of length ", length,
               " does not stand on these ", entries.size(),
               " versions: somebody was shown another line of versions"));
  }
  return absl::OkStatus();
}

Digest EmptyVersionLog(const Digest& task) {
  return Sha256Of(StrCat(kEmptyLog, task.ToBytes()));
}

Digest ExtendVersionLog(const Digest& task, uint64_t version,
                        const Digest& before, const Digest& entry) {
  std::string bytes = StrCat(kLogEntry, task.ToBytes());
  internal::AppendU64(bytes, version);
  StrAppend(&bytes, before.ToBytes(), entry.ToBytes());
  return Sha256Of(bytes);
}

}  // namespace mledge
