#include "mledge/client/storage/sqlite_device_storage.h"

#include <unistd.h>

#include <filesystem>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "mledge/client/storage/blob_directory.h"
#include "mledge/client/storage/journal_database.h"
#include "mledge/client/storage/sealed_file.h"
#include "mledge/core/file.h"
#include "mledge/core/mutex.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/storage/directory_lock.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr std::string_view kMaskedInputPrefix = "masked-";

// What each file is, for its seal.
constexpr char kUpdatePurpose[] = "update";
constexpr char kSnapshotPurpose[] = "snapshot";
constexpr char kMaskedInputPurpose[] = "masked input";

class SealedUploadSource final : public UploadSource {
 public:
  explicit SealedUploadSource(std::unique_ptr<SealedFileReader> file)
      : file_(std::move(file)) {}
  uint64_t size_in_bytes() const override { return file_->size_in_bytes(); }
  absl::StatusOr<std::string> Read(uint64_t offset,
                                   uint64_t size) const override {
    return file_->Read(offset, size);
  }

 private:
  const std::unique_ptr<SealedFileReader> file_;
};

class SqliteDeviceStorage final : public DeviceStorage {
 public:
  SqliteDeviceStorage(std::string directory,
                      std::unique_ptr<DirectoryLock> lock,
                      std::unique_ptr<JournalDatabase> database,
                      std::unique_ptr<BlobDirectory> blobs)
      : directory_(std::move(directory)),
        update_path_(StrCat(directory_, "/update.sealed")),
        snapshot_path_(StrCat(directory_, "/snapshot.sealed")),
        lock_(std::move(lock)),
        cipher_(database->cipher()),
        database_(std::move(database)),
        blobs_(std::move(blobs)) {}

  // Reads the journal and removes what it does not name.
  absl::Status TakeUp() {
    MutexLock lock(&mutex_);
    MLEDGE_ASSIGN_OR_RETURN(record_, database_->Load());
    MLEDGE_ASSIGN_OR_RETURN(const bool unsealed, database_->HasUnsealedFiles());
    if (unsealed) {
      MLEDGE_RETURN_IF_ERROR(SealFilesOfOlderFormat());
      MLEDGE_RETURN_IF_ERROR(database_->FinishTakingOver());
    }
    // Nobody sealed them: they are not this state's.
    Remove(StrCat(directory_, "/update"));
    Remove(StrCat(directory_, "/snapshot"));
    if (!record_.has_value()) Remove(snapshot_path_);
    if (!record_.has_value() || !record_->update.has_value()) {
      Remove(update_path_);
    }
    Remove(StrCat(update_path_, ".tmp"));
    Remove(StrCat(snapshot_path_, ".tmp"));
    Remove(StrCat(directory_, "/update.tmp"));  // of an older format
    return RemoveUnnamedMaskedInputs();
  }

  absl::StatusOr<std::optional<JournalRecord>> LoadJournal() override {
    MutexLock lock(&mutex_);
    return record_;
  }

  absl::Status SaveAssignment(const v1::Assignment& assignment) override {
    MutexLock lock(&mutex_);
    JournalRecord record{assignment, std::nullopt};
    MLEDGE_RETURN_IF_ERROR(database_->Save(record));
    record_ = std::move(record);
    Remove(snapshot_path_);
    Remove(update_path_);
    return absl::OkStatus();
  }

  // A snapshot begins with the assignment's id, so that one that outlived its
  // assignment is not taken for another's.
  absl::Status SaveSnapshot(const AssignmentId& assignment,
                            std::string_view snapshot) override {
    MutexLock lock(&mutex_);
    MLEDGE_RETURN_IF_ERROR(CheckHolds(assignment));
    if (record_->update.has_value()) {
      return absl::FailedPreconditionError(
          StrCat("assignment ", assignment.value(), " is trained already"));
    }
    return WriteSealedFile(
        cipher_, snapshot_path_, kSnapshotPurpose, [&](SealedFileWriter& file) {
          absl::Status status = file.Append(StrCat(assignment.value(), "\n"));
          if (status.ok()) status = file.Append(snapshot);
          return status;
        });
  }

  absl::StatusOr<std::optional<std::string>> LoadSnapshot(
      const AssignmentId& assignment) override {
    MutexLock lock(&mutex_);
    absl::StatusOr<std::string> bytes =
        ReadSealedFile(cipher_, snapshot_path_, kSnapshotPurpose);
    // Without a good one training begins anew.
    if (absl::IsNotFound(bytes.status()) || absl::IsDataLoss(bytes.status())) {
      return std::nullopt;
    }
    MLEDGE_RETURN_IF_ERROR(bytes.status());
    const std::string prefix = StrCat(assignment.value(), "\n");
    if (bytes->compare(0, prefix.size(), prefix) != 0) return std::nullopt;
    return bytes->substr(prefix.size());
  }

  absl::Status SaveUpdate(const FinishedUpdate& finished,
                          const UpdateContext& context, const Update& update,
                          const std::optional<PrivacyCharge>& charge) override {
    MutexLock lock(&mutex_);
    MLEDGE_RETURN_IF_ERROR(CheckHolds(context.assignment_id));
    MLEDGE_RETURN_IF_ERROR(WriteSealedFile(
        cipher_, update_path_, kUpdatePurpose, [&](SealedFileWriter& file) {
          return WriteUpdate(
              UpdateView::Of(update, context),
              [&](std::string_view bytes) { return file.Append(bytes); });
        }));
    JournalRecord record = *record_;
    record.update = finished;
    MLEDGE_RETURN_IF_ERROR(database_->Save(record, charge));
    record_ = std::move(record);
    Remove(snapshot_path_);
    return absl::OkStatus();
  }

  absl::StatusOr<std::shared_ptr<const UploadSource>> OpenUpdate(
      const AssignmentId& assignment) override {
    MutexLock lock(&mutex_);
    if (!CheckHolds(assignment).ok() || !record_->update.has_value()) {
      return absl::NotFoundError(
          StrCat("no update of assignment ", assignment.value(), " is stored"));
    }
    const FinishedUpdate& finished = *record_->update;
    absl::StatusOr<std::unique_ptr<SealedFileReader>> file =
        SealedFileReader::Open(cipher_, update_path_, kUpdatePurpose);
    if (!file.ok()) return absl::DataLossError(file.status().message());
    auto source = std::make_shared<const SealedUploadSource>(*std::move(file));
    MLEDGE_RETURN_IF_ERROR(
        Annotate(CheckContent(*source, finished), update_path_));
    return source;
  }

  absl::Status Forget(const AssignmentId& assignment) override {
    MutexLock lock(&mutex_);
    if (!CheckHolds(assignment).ok()) return absl::OkStatus();
    MLEDGE_RETURN_IF_ERROR(database_->Clear());
    record_.reset();
    Remove(snapshot_path_);
    Remove(update_path_);
    return absl::OkStatus();
  }

  absl::StatusOr<SecaggJournal> LoadSecaggJournal(const Digest& task) override {
    MutexLock lock(&mutex_);
    MLEDGE_ASSIGN_OR_RETURN(std::optional<JournalDatabase::SecaggRow> row,
                            database_->LoadSecagg(task));
    SecaggJournal journal;
    if (!row.has_value()) return journal;
    journal.bytes = std::move(row->journal);
    if (row->masked_input.has_value()) {
      absl::StatusOr<std::string> bytes = ReadSealedFile(
          cipher_, MaskedInputPath(*row->masked_input), kMaskedInputPurpose);
      // One that is gone or altered is none: the session cannot go on.
      if (bytes.ok() && Sha256Of(*bytes) == *row->masked_input) {
        journal.masked_input =
            std::make_shared<const std::string>(*std::move(bytes));
      }
    }
    return journal;
  }

  absl::Status SaveSecaggJournal(
      const Digest& task, const SecretBytes& journal, MaskedInputAction action,
      std::shared_ptr<const std::string> masked_input) override {
    MutexLock lock(&mutex_);
    MLEDGE_ASSIGN_OR_RETURN(const std::optional<JournalDatabase::SecaggRow> row,
                            database_->LoadSecagg(task));
    const std::optional<Digest> before =
        row.has_value() ? row->masked_input : std::nullopt;
    std::optional<Digest> after;
    if (action == MaskedInputAction::kKeep) {
      after = before;
    } else if (action == MaskedInputAction::kStore) {
      after = Sha256Of(*masked_input);
      MLEDGE_RETURN_IF_ERROR(WriteSealedFile(cipher_, MaskedInputPath(*after),
                                             kMaskedInputPurpose,
                                             *masked_input));
    }
    MLEDGE_RETURN_IF_ERROR(database_->SaveSecagg(task, journal, after));
    if (before.has_value() && before != after) {
      Remove(MaskedInputPath(*before));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> LoadListNumber() override {
    MutexLock lock(&mutex_);
    return database_->LoadListNumber();
  }
  absl::Status SaveListNumber(uint64_t number) override {
    MutexLock lock(&mutex_);
    return database_->SaveListNumber(number);
  }

  absl::StatusOr<std::map<Digest, std::string>> LoadPrivacyRecords() override {
    MutexLock lock(&mutex_);
    return database_->LoadPrivacyRecords();
  }
  absl::StatusOr<std::shared_ptr<const std::string>> ReadBlob(
      const Digest& digest) override {
    return blobs_->Read(digest);
  }
  absl::StatusOr<std::unique_ptr<BlobWriter>> OpenBlobWriter(
      const Digest& digest, uint64_t size_in_bytes) override {
    return blobs_->OpenWriter(digest, size_in_bytes);
  }

 private:
  static void Remove(const std::string& path) { ::unlink(path.c_str()); }

  std::string MaskedInputName(const Digest& digest) const {
    return StrCat(kMaskedInputPrefix, cipher_->NameOf("masked input", digest),
                  ".sealed");
  }
  std::string MaskedInputPath(const Digest& digest) const {
    return StrCat(directory_, "/", MaskedInputName(digest));
  }

  absl::Status SealFilesOfOlderFormat() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    MLEDGE_RETURN_IF_ERROR(SealOlderFile(cipher_, StrCat(directory_, "/update"),
                                         update_path_, kUpdatePurpose));
    MLEDGE_RETURN_IF_ERROR(SealOlderFile(cipher_,
                                         StrCat(directory_, "/snapshot"),
                                         snapshot_path_, kSnapshotPurpose));
    MLEDGE_ASSIGN_OR_RETURN(const std::vector<Digest> masked,
                            database_->MaskedInputs());
    for (const Digest& digest : masked) {
      MLEDGE_RETURN_IF_ERROR(SealOlderFile(
          cipher_, StrCat(directory_, "/", kMaskedInputPrefix, digest.ToHex()),
          MaskedInputPath(digest), kMaskedInputPurpose));
    }
    // Its cache can be fetched again.
    std::error_code error;
    std::filesystem::remove_all(StrCat(directory_, "/blobs"), error);
    return error ? ErrnoToStatus(error.value(), "cannot remove",
                                 StrCat(directory_, "/blobs"))
                 : absl::OkStatus();
  }

  absl::Status RemoveUnnamedMaskedInputs()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    MLEDGE_ASSIGN_OR_RETURN(const std::vector<Digest> named,
                            database_->MaskedInputs());
    std::set<std::string> keep;
    for (const Digest& digest : named) keep.insert(MaskedInputName(digest));
    std::error_code error;
    for (const auto& entry :
         std::filesystem::directory_iterator(directory_, error)) {
      const std::string name = entry.path().filename();
      if (name.starts_with(kMaskedInputPrefix) && !keep.contains(name)) {
        Remove(entry.path());
      }
    }
    return absl::OkStatus();
  }

  // The file may have been altered while it waited.
  static absl::Status CheckContent(const UploadSource& source,
                                   const FinishedUpdate& finished) {
    constexpr uint64_t kPiece = uint64_t{1} << 20;
    if (source.size_in_bytes() != finished.size_in_bytes) {
      return absl::DataLossError("the stored update was altered");
    }
    Sha256 hash;
    for (uint64_t offset = 0; offset < finished.size_in_bytes;
         offset += kPiece) {
      MLEDGE_ASSIGN_OR_RETURN(
          const std::string bytes,
          source.Read(offset,
                      std::min(kPiece, finished.size_in_bytes - offset)));
      hash.Update(bytes);
    }
    if (hash.Finish() == finished.content_sha256) return absl::OkStatus();
    return absl::DataLossError("the stored update was altered");
  }

  absl::Status CheckHolds(const AssignmentId& assignment) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (record_.has_value() &&
        record_->assignment.assignment_id() == assignment.value()) {
      return absl::OkStatus();
    }
    return absl::FailedPreconditionError(
        StrCat("assignment ", assignment.value(), " is not under way"));
  }

  const std::string directory_;
  const std::string update_path_;
  const std::string snapshot_path_;
  const std::unique_ptr<DirectoryLock> lock_;
  const std::shared_ptr<const StateCipher> cipher_;

  Mutex mutex_;
  const std::unique_ptr<JournalDatabase> database_ ABSL_PT_GUARDED_BY(mutex_);
  std::optional<JournalRecord> record_ ABSL_GUARDED_BY(mutex_);
  const std::unique_ptr<BlobDirectory> blobs_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceStorage>> OpenSqliteDeviceStorage(
    const SqliteDeviceStorageOptions& options) {
  if (options.directory.empty()) {
    return absl::InvalidArgumentError("state_directory is empty");
  }
  if (options.state_key == nullptr) {
    return absl::InvalidArgumentError(
        "SqliteDeviceStorageOptions::state_key is missing: MakeFileStateKey "
        "makes one of a file");
  }
  MLEDGE_RETURN_IF_ERROR(EnsureWritableDirectory(options.directory));
  MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<DirectoryLock> lock,
                          DirectoryLock::Acquire(options.directory, "device"));
  MLEDGE_ASSIGN_OR_RETURN(
      std::unique_ptr<JournalDatabase> database,
      JournalDatabase::Open(StrCat(options.directory, "/device.sqlite"),
                            options.device, *options.state_key));
  MLEDGE_ASSIGN_OR_RETURN(
      std::unique_ptr<BlobDirectory> blobs,
      BlobDirectory::Open(StrCat(options.directory, "/cache"),
                          options.maximum_cache_bytes, database->cipher()));
  auto storage = std::make_unique<SqliteDeviceStorage>(
      options.directory, std::move(lock), std::move(database),
      std::move(blobs));
  MLEDGE_RETURN_IF_ERROR(storage->TakeUp());
  return storage;
}

}  // namespace mledge
