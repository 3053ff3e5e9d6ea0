#include "mledge/client/storage/sqlite_device_storage.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "mledge/client/storage/blob_directory.h"
#include "mledge/client/storage/journal_database.h"
#include "mledge/core/file.h"
#include "mledge/core/mutex.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr std::string_view kMaskedInputPrefix = "masked-";

class FileDescriptor {
 public:
  explicit FileDescriptor(int value) : value_(value) {}
  ~FileDescriptor() {
    if (value_ >= 0) ::close(value_);
  }
  FileDescriptor(FileDescriptor&& other) noexcept
      : value_(std::exchange(other.value_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

absl::StatusOr<FileDescriptor> LockFolder(const std::string& directory) {
  const std::string path = StrCat(directory, "/lock");
  FileDescriptor lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.get() < 0) return ErrnoToStatus(errno, "cannot open", path);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoToStatus(errno, "cannot lock", path);
    char pid[32] = {};
    const ssize_t size = ::pread(lock.get(), pid, sizeof(pid) - 1, 0);
    return absl::FailedPreconditionError(StrCat(
        "the state directory ", directory, " is in use by another process",
        size > 0 ? StrCat(" (", std::string(pid), ")") : std::string(),
        ": stop it, or give each device its own directory"));
  }
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(lock.get(), 0) != 0 ||
      ::pwrite(lock.get(), pid.data(), pid.size(), 0) < 0) {
    return ErrnoToStatus(errno, "cannot write", path);
  }
  return lock;
}

absl::Status WriteAll(int descriptor, std::string_view bytes,
                      const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoToStatus(errno, "cannot write", path);
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

// Writes the update file beside `path`, syncs it, and puts it in its place.
absl::Status WriteUpdateDurably(const UpdateView& update,
                                const std::string& directory,
                                const std::string& path) {
  const std::string temporary = StrCat(path, ".tmp");
  {
    FileDescriptor file(::open(temporary.c_str(),
                               O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (file.get() < 0) return ErrnoToStatus(errno, "cannot create", temporary);
    MLEDGE_RETURN_IF_ERROR(WriteUpdate(update, [&](std::string_view bytes) {
      return WriteAll(file.get(), bytes, temporary);
    }));
    if (::fsync(file.get()) != 0) {
      return ErrnoToStatus(errno, "cannot sync", temporary);
    }
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return ErrnoToStatus(errno, "cannot rename", temporary);
  }
  return SyncDirectory(directory);
}

class FileUploadSource final : public UploadSource {
 public:
  FileUploadSource(FileDescriptor file, uint64_t size_in_bytes)
      : file_(std::move(file)), size_in_bytes_(size_in_bytes) {}
  uint64_t size_in_bytes() const override { return size_in_bytes_; }
  absl::StatusOr<std::string> Read(uint64_t offset,
                                   uint64_t size) const override {
    if (offset > size_in_bytes_ || size > size_in_bytes_ - offset) {
      return absl::OutOfRangeError(StrCat("bytes ", offset, " to ",
                                          offset + size, " of an update of ",
                                          size_in_bytes_));
    }
    std::string bytes(size, '\0');
    size_t done = 0;
    while (done < size) {
      const ssize_t got = ::pread(file_.get(), bytes.data() + done, size - done,
                                  static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return absl::DataLossError("the update file is too short");
      done += static_cast<size_t>(got);
    }
    return bytes;
  }

 private:
  const FileDescriptor file_;
  const uint64_t size_in_bytes_;
};

class SqliteDeviceStorage final : public DeviceStorage {
 public:
  SqliteDeviceStorage(std::string directory, FileDescriptor lock,
                      std::unique_ptr<JournalDatabase> database,
                      std::unique_ptr<BlobDirectory> blobs)
      : directory_(std::move(directory)),
        update_path_(StrCat(directory_, "/update")),
        snapshot_path_(StrCat(directory_, "/snapshot")),
        lock_(std::move(lock)),
        database_(std::move(database)),
        blobs_(std::move(blobs)) {}

  // Reads the journal and removes what it does not name.
  absl::Status TakeUp() {
    MutexLock lock(&mutex_);
    MLEDGE_ASSIGN_OR_RETURN(record_, database_->Load());
    if (!record_.has_value()) Remove(snapshot_path_);
    if (!record_.has_value() || !record_->update.has_value()) {
      Remove(update_path_);
    }
    Remove(StrCat(update_path_, ".tmp"));
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
    return WriteFileAtomically(snapshot_path_,
                               StrCat(assignment.value(), "\n", snapshot),
                               FileMode::kPrivate);
  }

  absl::StatusOr<std::optional<std::string>> LoadSnapshot(
      const AssignmentId& assignment) override {
    MutexLock lock(&mutex_);
    absl::StatusOr<std::string> bytes = ReadFile(snapshot_path_);
    if (absl::IsNotFound(bytes.status())) return std::nullopt;
    MLEDGE_RETURN_IF_ERROR(bytes.status());
    const std::string prefix = StrCat(assignment.value(), "\n");
    if (bytes->compare(0, prefix.size(), prefix) != 0) return std::nullopt;
    return bytes->substr(prefix.size());
  }

  absl::Status SaveUpdate(const FinishedUpdate& finished,
                          const UpdateContext& context,
                          const Update& update) override {
    MutexLock lock(&mutex_);
    MLEDGE_RETURN_IF_ERROR(CheckHolds(context.assignment_id));
    MLEDGE_RETURN_IF_ERROR(WriteUpdateDurably(UpdateView::Of(update, context),
                                              directory_, update_path_));
    JournalRecord record = *record_;
    record.update = finished;
    MLEDGE_RETURN_IF_ERROR(database_->Save(record));
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
    FileDescriptor file(::open(update_path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) {
      return absl::DataLossError(
          ErrnoToStatus(errno, "cannot open", update_path_).message());
    }
    auto source = std::make_shared<const FileUploadSource>(
        std::move(file), finished.size_in_bytes);
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
      absl::StatusOr<std::string> bytes =
          ReadFile(MaskedInputPath(*row->masked_input));
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
      MLEDGE_RETURN_IF_ERROR(WriteFileAtomically(
          MaskedInputPath(*after), *masked_input, FileMode::kPrivate));
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
  absl::Status SavePrivacyRecord(const Digest& task,
                                 std::string_view record) override {
    MutexLock lock(&mutex_);
    return database_->SavePrivacyRecord(task, record);
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

  std::string MaskedInputPath(const Digest& digest) const {
    return StrCat(directory_, "/", kMaskedInputPrefix, digest.ToHex());
  }

  absl::Status RemoveUnnamedMaskedInputs()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    MLEDGE_ASSIGN_OR_RETURN(const std::vector<Digest> named,
                            database_->MaskedInputs());
    std::set<std::string> keep;
    for (const Digest& digest : named) keep.insert(MaskedInputPath(digest));
    std::error_code error;
    for (const auto& entry :
         std::filesystem::directory_iterator(directory_, error)) {
      const std::string path = entry.path();
      if (entry.path().filename().string().starts_with(kMaskedInputPrefix) &&
          !keep.contains(path)) {
        Remove(path);
      }
    }
    return absl::OkStatus();
  }

  // The file may have been altered while it waited.
  static absl::Status CheckContent(const UploadSource& source,
                                   const FinishedUpdate& finished) {
    constexpr uint64_t kPiece = uint64_t{1} << 20;
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
  const FileDescriptor lock_;

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
  MLEDGE_RETURN_IF_ERROR(EnsureWritableDirectory(options.directory));
  MLEDGE_ASSIGN_OR_RETURN(FileDescriptor lock, LockFolder(options.directory));
  MLEDGE_ASSIGN_OR_RETURN(
      std::unique_ptr<JournalDatabase> database,
      JournalDatabase::Open(StrCat(options.directory, "/device.sqlite"),
                            options.device));
  MLEDGE_ASSIGN_OR_RETURN(
      std::unique_ptr<BlobDirectory> blobs,
      BlobDirectory::Open(StrCat(options.directory, "/blobs"),
                          options.maximum_cache_bytes));
  auto storage = std::make_unique<SqliteDeviceStorage>(
      options.directory, std::move(lock), std::move(database),
      std::move(blobs));
  MLEDGE_RETURN_IF_ERROR(storage->TakeUp());
  return storage;
}

}  // namespace mledge
