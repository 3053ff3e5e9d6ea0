#include "mledge/client/storage/journal_database.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <string_view>

#include "mledge/client/storage/journal_format.h"
#include "mledge/core/bytes.h"
#include "mledge/core/file.h"
#include "mledge/core/logging.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/storage/schema_migrations.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr std::string_view kAssignmentRecord = "assignment";
constexpr std::string_view kListNumberRecord = "revocation-list";
constexpr std::string_view kUnsealedFilesRecord = "unsealed-files";
constexpr std::string_view kSecaggPrefix = "secagg-";
constexpr std::string_view kPrivacyPrefix = "privacy-";
constexpr std::string_view kDamageRemedy =
    "move the state directory away and start again; lost are what was trained "
    "but not uploaded, which sessions were joined, and how much privacy was "
    "spent";

// SQLite gives its other files the same mode.
absl::Status MakePrivate(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return ErrnoToStatus(errno, "cannot open", path);
  const int changed = ::fchmod(file, 0600);
  const int error = errno;
  ::close(file);
  return changed == 0 ? absl::OkStatus()
                      : ErrnoToStatus(error, "cannot protect", path);
}

}  // namespace

absl::StatusOr<std::unique_ptr<JournalDatabase>> JournalDatabase::Open(
    const std::string& path, const DeviceId& device, StateKey& state_key) {
  MLEDGE_RETURN_IF_ERROR(MakePrivate(path));
  MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                          Database::Open(path, std::string(kDamageRemedy)));
  std::unique_ptr<JournalDatabase> journal(
      new JournalDatabase(std::move(database), state_key.Describe()));
  MLEDGE_RETURN_IF_ERROR(journal->Prepare(device, state_key));
  return journal;
}

absl::Status JournalDatabase::Prepare(const DeviceId& device,
                                      StateKey& state_key) {
  // A log of a few pages: what is over goes soon, and the folder stays small.
  MLEDGE_RETURN_IF_ERROR(database_->Execute(
      "PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = 32"));
  MLEDGE_ASSIGN_OR_RETURN(const int version, SchemaVersion(*database_));
  if (version > kJournalFormat) {
    return absl::FailedPreconditionError(StrCat(
        database_->path(), " has format ", version, ", this program knows ",
        kJournalFormat, ": use a newer program, or another folder"));
  }
  if (version == kJournalFormat) {
    MLEDGE_RETURN_IF_ERROR(CheckOwner(device, /*is_sealed=*/true));
    return Unseal(state_key);
  }
  MLEDGE_RETURN_IF_ERROR(RunMigrations(*database_, kJournalMigrations,
                                       kJournalFormat - 1, "mledge-device"));
  MLEDGE_RETURN_IF_ERROR(CheckOwner(device, /*is_sealed=*/false));
  return Seal(device, state_key);
}

absl::Status JournalDatabase::CheckOwner(const DeviceId& device,
                                         bool is_sealed) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database_->Prepare(is_sealed ? "SELECT device FROM state"
                                   : "SELECT device FROM owner"));
  MLEDGE_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found || row.Bytes(0) == device.value()) return absl::OkStatus();
  return absl::FailedPreconditionError(StrCat(
      database_->path(), " belongs to device '", row.Bytes(0), "', this is '",
      device.value(), "': give each device its own state directory"));
}

absl::Status JournalDatabase::Seal(const DeviceId& device,
                                   StateKey& state_key) {
  absl::StatusOr<SecretBytes> key = state_key.Load();
  const bool is_new = absl::IsNotFound(key.status());
  if (is_new) {
    key = state_key.LoadUnconfirmed();
    if (absl::IsNotFound(key.status())) key = state_key.Create();
  }
  MLEDGE_RETURN_IF_ERROR(key.status());
  if (!is_new) {
    MLEDGE_ASSIGN_OR_RETURN(const bool has_rows, HasUnsealedRows());
    if (has_rows) {
      return absl::FailedPreconditionError(StrCat(
          "the state in ", database_->path(),
          " is not encrypted, although the ", key_place_,
          " is in use: somebody may have put it there. Move the state "
          "directory away and start again; if you know that this program has "
          "never run on this state, move the key away instead"));
    }
    LOG(WARNING) << database_->path() << " is new, although the " << key_place_
                 << " is in use: device '" << device.value()
                 << "' forgets which sessions it joined and how much privacy "
                    "it has spent. If its state was not given up knowingly, "
                    "stop the program and restore the state directory";
  }
  std::string salt(StateCipher::kSaltSizeInBytes, '\0');
  SystemSecretRandom().Fill(
      {reinterpret_cast<uint8_t*>(salt.data()), salt.size()});
  cipher_ = std::make_shared<const StateCipher>(*key, salt);
  MLEDGE_RETURN_IF_ERROR(database_->InTransaction([&]() -> absl::Status {
    MLEDGE_RETURN_IF_ERROR(database_->Execute(kSealedTables));
    MLEDGE_RETURN_IF_ERROR(SealRowsOfOlderFormat());
    {
      MLEDGE_ASSIGN_OR_RETURN(
          Statement insert,
          database_->Prepare("INSERT INTO state VALUES (1, ?, ?, ?)"));
      MLEDGE_RETURN_IF_ERROR(insert.BindText(device.value())
                                 .BindBlob(salt)
                                 .BindBlob(cipher_->KeyCheck())
                                 .Run());
    }
    if (is_new) {
      MLEDGE_RETURN_IF_ERROR(
          Write(std::string(kUnsealedFilesRecord), AsBytes("1")));
    }
    MLEDGE_RETURN_IF_ERROR(database_->Execute(kDropUnsealedTables));
    return database_->Execute(StrCat("PRAGMA user_version = ", kJournalFormat));
  }));
  return is_new ? state_key.Confirm() : absl::OkStatus();
}

absl::StatusOr<bool> JournalDatabase::HasUnsealedRows() {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database_->Prepare("SELECT 1 FROM journal UNION ALL "
                         "SELECT 1 FROM secagg UNION ALL "
                         "SELECT 1 FROM revocation_list UNION ALL "
                         "SELECT 1 FROM privacy"));
  return row.Step();
}

absl::Status JournalDatabase::SealRowsOfOlderFormat() {
  {
    MLEDGE_ASSIGN_OR_RETURN(
        Statement row,
        database_->Prepare(
            "SELECT assignment, update_sha256, update_size FROM journal"));
    MLEDGE_ASSIGN_OR_RETURN(const bool found, row.Step());
    if (found) {
      std::optional<UnsealedUpdate> update;
      if (!row.IsNull(1)) {
        update = {row.Bytes(1), static_cast<uint64_t>(row.Integer(2))};
      }
      MLEDGE_RETURN_IF_ERROR(
          Write(std::string(kAssignmentRecord),
                AsBytes(EncodeAssignment(row.Bytes(0), update))));
    }
  }
  {
    MLEDGE_ASSIGN_OR_RETURN(
        Statement row,
        database_->Prepare("SELECT task, journal, masked_sha256 FROM secagg"));
    while (true) {
      MLEDGE_ASSIGN_OR_RETURN(const bool more, row.Step());
      if (!more) break;
      const absl::StatusOr<Digest> task = Digest::FromBytes(row.Bytes(0));
      if (!task.ok()) return Annotate(task.status(), database_->path());
      std::string journal = row.Bytes(1);
      const SecretBytes value =
          EncodeSecagg(AsBytes(journal), row.IsNull(2) ? "" : row.Bytes(2));
      OPENSSL_cleanse(journal.data(), journal.size());
      MLEDGE_RETURN_IF_ERROR(
          Write(SecaggName(*task), value.bytes(RevealSecret())));
    }
  }
  {
    MLEDGE_ASSIGN_OR_RETURN(
        Statement row, database_->Prepare("SELECT task, record FROM privacy"));
    while (true) {
      MLEDGE_ASSIGN_OR_RETURN(const bool more, row.Step());
      if (!more) break;
      const absl::StatusOr<Digest> task = Digest::FromBytes(row.Bytes(0));
      if (!task.ok()) return Annotate(task.status(), database_->path());
      MLEDGE_RETURN_IF_ERROR(WritePrivacyRecord(*task, row.Bytes(1)));
    }
  }
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row, database_->Prepare("SELECT number FROM revocation_list"));
  MLEDGE_ASSIGN_OR_RETURN(const bool found, row.Step());
  return found ? SaveListNumber(static_cast<uint64_t>(row.Integer(0)))
               : absl::OkStatus();
}

absl::Status JournalDatabase::Unseal(StateKey& state_key) {
  const auto refuse = [this](std::string_view how) {
    return absl::FailedPreconditionError(StrCat(
        "the state in ", database_->path(), " is encrypted, and the ",
        key_place_, " ", how,
        ": restore the key, or name its place in `state_key`; without it, ",
        kDamageRemedy));
  };
  absl::StatusOr<SecretBytes> key = state_key.Load();
  const bool is_new = absl::IsNotFound(key.status());
  if (is_new) key = state_key.LoadUnconfirmed();
  if (absl::IsNotFound(key.status())) return refuse("is missing");
  MLEDGE_RETURN_IF_ERROR(key.status());
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row, database_->Prepare("SELECT salt, key_check FROM state"));
  MLEDGE_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) {
    return absl::DataLossError(
        StrCat(database_->path(), " is damaged: ", kDamageRemedy));
  }
  cipher_ = std::make_shared<const StateCipher>(*key, row.Bytes(0));
  if (cipher_->KeyCheck() != row.Bytes(1)) return refuse("is another one");
  return is_new ? state_key.Confirm() : absl::OkStatus();
}

absl::Status JournalDatabase::Write(const std::string& name,
                                    std::span<const uint8_t> value) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database_->Prepare("INSERT OR REPLACE INTO records VALUES (?, ?)"));
  return row.BindText(name).BindBlob(cipher_->SealRecord(name, value)).Run();
}

absl::Status JournalDatabase::Delete(std::string_view name) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row, database_->Prepare("DELETE FROM records WHERE name = ?"));
  return row.BindText(name).Run();
}

absl::StatusOr<SecretBytes> JournalDatabase::OpenRecord(
    const std::string& name, const std::string& sealed) {
  if (sealed.size() >= StateCipher::kOverhead) {
    SecretBytes value(sealed.size() - StateCipher::kOverhead);
    if (cipher_
            ->Open(StateCipher::Use::kRecord, name, AsBytes(sealed),
                   value.mutable_bytes(RevealSecret()))
            .ok()) {
      return value;
    }
  }
  return absl::DataLossError(StrCat(database_->path(), ": record ", name,
                                    " was altered: ", kDamageRemedy));
}

absl::StatusOr<std::optional<SecretBytes>> JournalDatabase::Read(
    const std::string& name) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database_->Prepare("SELECT sealed FROM records WHERE name = ?"));
  row.BindText(name);
  MLEDGE_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return std::nullopt;
  return OpenRecord(name, row.Bytes(0));
}

absl::StatusOr<std::optional<JournalRecord>> JournalDatabase::Load() {
  MLEDGE_ASSIGN_OR_RETURN(const std::optional<SecretBytes> value,
                          Read(std::string(kAssignmentRecord)));
  if (!value.has_value()) return std::nullopt;
  return DecodeAssignment(value->bytes(RevealSecret()));
}

absl::Status JournalDatabase::Save(const JournalRecord& record,
                                   const std::optional<PrivacyCharge>& charge) {
  std::optional<UnsealedUpdate> update;
  if (record.update.has_value()) {
    update = {record.update->content_sha256.ToBytes(),
              record.update->size_in_bytes};
  }
  return database_->InTransaction([&]() -> absl::Status {
    if (charge.has_value()) {
      MLEDGE_RETURN_IF_ERROR(WritePrivacyRecord(charge->task, charge->record));
    }
    return Write(std::string(kAssignmentRecord),
                 AsBytes(EncodeAssignment(record.assignment.SerializeAsString(),
                                          update)));
  });
}

absl::Status JournalDatabase::Clear() { return Delete(kAssignmentRecord); }

absl::StatusOr<bool> JournalDatabase::HasUnsealedFiles() {
  MLEDGE_ASSIGN_OR_RETURN(const std::optional<SecretBytes> value,
                          Read(std::string(kUnsealedFilesRecord)));
  return value.has_value();
}

absl::Status JournalDatabase::FinishTakingOver() {
  // The record goes last: whatever cuts this off, it is done again.
  MLEDGE_RETURN_IF_ERROR(database_->Execute("PRAGMA wal_checkpoint(TRUNCATE)"));
  return Delete(kUnsealedFilesRecord);
}

std::string JournalDatabase::SecaggName(const Digest& task) const {
  return StrCat(kSecaggPrefix, cipher_->NameOf("secagg", task));
}

absl::StatusOr<std::optional<JournalDatabase::SecaggRow>>
JournalDatabase::LoadSecagg(const Digest& task) {
  MLEDGE_ASSIGN_OR_RETURN(const std::optional<SecretBytes> value,
                          Read(SecaggName(task)));
  if (!value.has_value()) return std::nullopt;
  SecaggRow row;
  MLEDGE_RETURN_IF_ERROR(DecodeSecagg(value->bytes(RevealSecret()),
                                      &row.journal, &row.masked_input));
  return row;
}

absl::Status JournalDatabase::SaveSecagg(
    const Digest& task, const SecretBytes& journal,
    const std::optional<Digest>& masked_input) {
  const SecretBytes value =
      EncodeSecagg(journal.bytes(RevealSecret()),
                   masked_input.has_value() ? masked_input->ToBytes() : "");
  MLEDGE_RETURN_IF_ERROR(Write(SecaggName(task), value.bytes(RevealSecret())));
  // Without a masked input there are no secrets left; the WAL still holds
  // those that were there before.
  if (masked_input.has_value()) return absl::OkStatus();
  return database_->Execute("PRAGMA wal_checkpoint(TRUNCATE)");
}

absl::Status JournalDatabase::ForEach(
    std::string_view prefix,
    const std::function<absl::Status(const SecretBytes&)>& use) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row, database_->Prepare("SELECT name, sealed FROM records"));
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return absl::OkStatus();
    const std::string name = row.Bytes(0);
    if (!name.starts_with(prefix)) continue;
    MLEDGE_ASSIGN_OR_RETURN(const SecretBytes value,
                            OpenRecord(name, row.Bytes(1)));
    MLEDGE_RETURN_IF_ERROR(use(value));
  }
}

absl::StatusOr<std::vector<Digest>> JournalDatabase::MaskedInputs() {
  std::vector<Digest> digests;
  MLEDGE_RETURN_IF_ERROR(
      ForEach(kSecaggPrefix, [&](const SecretBytes& value) -> absl::Status {
        SecaggRow secagg;
        MLEDGE_RETURN_IF_ERROR(DecodeSecagg(value.bytes(RevealSecret()),
                                            &secagg.journal,
                                            &secagg.masked_input));
        if (secagg.masked_input.has_value()) {
          digests.push_back(*secagg.masked_input);
        }
        return absl::OkStatus();
      }));
  return digests;
}

absl::StatusOr<std::map<Digest, std::string>>
JournalDatabase::LoadPrivacyRecords() {
  std::map<Digest, std::string> records;
  MLEDGE_RETURN_IF_ERROR(
      ForEach(kPrivacyPrefix, [&](const SecretBytes& value) -> absl::Status {
        MLEDGE_ASSIGN_OR_RETURN(
            auto task_and_record,
            DecodePrivacyRecord(value.bytes(RevealSecret())));
        records.insert(std::move(task_and_record));
        return absl::OkStatus();
      }));
  return records;
}

absl::Status JournalDatabase::WritePrivacyRecord(const Digest& task,
                                                 std::string_view record) {
  return Write(StrCat(kPrivacyPrefix, cipher_->NameOf("privacy", task)),
               AsBytes(EncodePrivacyRecord(task, record)));
}

absl::StatusOr<uint64_t> JournalDatabase::LoadListNumber() {
  MLEDGE_ASSIGN_OR_RETURN(const std::optional<SecretBytes> value,
                          Read(std::string(kListNumberRecord)));
  if (!value.has_value()) return 0;
  return DecodeNumber(value->bytes(RevealSecret()));
}

absl::Status JournalDatabase::SaveListNumber(uint64_t number) {
  MLEDGE_ASSIGN_OR_RETURN(const uint64_t newest, LoadListNumber());
  return Write(std::string(kListNumberRecord),
               AsBytes(EncodeNumber(std::max(number, newest))));
}

}  // namespace mledge
