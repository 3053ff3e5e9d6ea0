#include "mledge/coordinator/storage/update_spool.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "mledge/aggregation/update_file.h"
#include "mledge/coordinator/storage/spool_writer.h"
#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestIdInName = 150;
constexpr std::string_view kBootIdFile = "boot-id";

bool IsPlain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

// "<id>,<content>,<size>", everything unusual in the id as %XX.
absl::StatusOr<std::string> FileName(const AssignmentId& assignment,
                                     const Digest& content, uint64_t size) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string id;
  for (char c : assignment.value()) {
    if (IsPlain(c)) {
      id += c;
    } else {
      id += '%';
      id += kHex[static_cast<uint8_t>(c) >> 4];
      id += kHex[static_cast<uint8_t>(c) & 15];
    }
  }
  if (id.empty() || id.size() > kLongestIdInName) {
    return absl::InvalidArgumentError(StrCat(
        "assignment id '", assignment.value(), "' is empty or too long"));
  }
  return StrCat(id, ",", content.ToHex(), ",", size);
}

struct ParsedName {
  AssignmentId assignment;
  Digest content;
  uint64_t size_in_bytes = 0;
};

std::optional<ParsedName> ParseName(const std::string& name) {
  const std::vector<std::string> parts = absl::StrSplit(name, ',');
  ParsedName parsed;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[2], &parsed.size_in_bytes)) {
    return std::nullopt;
  }
  const absl::StatusOr<Digest> content = Digest::FromHex(parts[1]);
  if (!content.ok()) return std::nullopt;
  parsed.content = *content;
  std::string id;
  for (size_t i = 0; i < parts[0].size(); ++i) {
    if (parts[0][i] != '%') {
      id += parts[0][i];
      continue;
    }
    int value = 0;
    if (!absl::SimpleHexAtoi(parts[0].substr(i + 1, 2), &value)) {
      return std::nullopt;
    }
    id += static_cast<char>(value);
    i += 2;
  }
  parsed.assignment = AssignmentId(std::move(id));
  return parsed;
}

class MappedUpdate final : public SpooledUpdate {
 public:
  explicit MappedUpdate(std::unique_ptr<UpdateFile> file)
      : file_(std::move(file)) {}
  const UpdateView& view() const override { return file_->view(); }

 private:
  const std::unique_ptr<UpdateFile> file_;
};

}  // namespace

UpdateSpool::UpdateSpool(std::string directory)
    : directory_(std::move(directory)),
      open_writers_(std::make_shared<OpenWriters>()) {}

absl::StatusOr<std::unique_ptr<UpdateSpool>> UpdateSpool::Open(
    std::string directory) {
  MLEDGE_RETURN_IF_ERROR(EnsureWritableDirectory(directory));
  std::unique_ptr<UpdateSpool> spool(new UpdateSpool(std::move(directory)));
  MLEDGE_RETURN_IF_ERROR(spool->TakeStock());
  MLEDGE_RETURN_IF_ERROR(spool->ForgetUnfinishedAfterReboot());
  return spool;
}

absl::Status UpdateSpool::TakeStock() {
  MutexLock lock(&mutex_);
  std::error_code error;
  for (fs::directory_iterator it(directory_, error), end; !error && it != end;
       it.increment(error)) {
    const std::optional<ParsedName> name =
        ParseName(it->path().filename().string());
    if (!name.has_value()) continue;
    Entry& entry = entries_[name->assignment];
    // Two contents of one assignment: the process died between removing the
    // old file and making the new one. Neither was acknowledged.
    if (!entry.path.empty()) unlink(entry.path.c_str());
    entry = {name->content, name->size_in_bytes, it->path().string()};
  }
  if (error) return ErrnoToStatus(error.value(), "list", directory_);
  return absl::OkStatus();
}

absl::Status UpdateSpool::ForgetUnfinishedAfterReboot() {
  const std::string path = StrCat(directory_, "/", kBootIdFile);
  const absl::StatusOr<std::string> now =
      ReadFile("/proc/sys/kernel/random/boot_id");
  const absl::StatusOr<std::string> then = ReadFile(path);
  if (now.ok() && then.ok() && *now == *then) return absl::OkStatus();
  {
    MutexLock lock(&mutex_);
    for (auto it = entries_.begin(); it != entries_.end();) {
      struct stat info;
      const Entry& entry = it->second;
      const bool complete =
          stat(entry.path.c_str(), &info) == 0 &&
          static_cast<uint64_t>(info.st_size) == entry.size_in_bytes;
      const auto next = std::next(it);
      if (!complete) {
        unlink(entry.path.c_str());
        entries_.erase(it);
      }
      it = next;
    }
  }
  return WriteFileAtomically(path, now.ok() ? *now : "unknown");
}

absl::StatusOr<std::unique_ptr<SpoolWriter>> UpdateSpool::OpenWriter(
    const AssignmentId& assignment, const Digest& content,
    uint64_t size_in_bytes) {
  MLEDGE_ASSIGN_OR_RETURN(const std::string name,
                          FileName(assignment, content, size_in_bytes));
  const std::string path = StrCat(directory_, "/", name);
  {
    MutexLock lock(&open_writers_->mutex);
    if (!open_writers_->assignments.insert(assignment).second) {
      return absl::AbortedError(
          StrCat("another upload of assignment ", assignment.value(),
                 " is open: try again when it has ended"));
    }
  }
  {
    MutexLock lock(&mutex_);
    Entry& entry = entries_[assignment];
    if (entry.path != path && !entry.path.empty()) unlink(entry.path.c_str());
    entry = {content, size_in_bytes, path};
  }
  // Whatever fails from here on, the writer's end or this call leaves the set.
  auto on_close = [open_writers = open_writers_, assignment] {
    MutexLock lock(&open_writers->mutex);
    open_writers->assignments.erase(assignment);
  };
  MLEDGE_ASSIGN_OR_RETURN(
      std::unique_ptr<SpoolWriter> writer,
      FileSpoolWriter::Open(path, content, size_in_bytes, on_close));
  // The name must survive too when the bytes are said to; that of an earlier
  // attempt as well, after which the process may have died before this line.
  MLEDGE_RETURN_IF_ERROR(SyncDirectory(directory_));
  return writer;
}

absl::StatusOr<UpdateSpool::Entry> UpdateSpool::Find(
    const AssignmentId& assignment) {
  MutexLock lock(&mutex_);
  const auto it = entries_.find(assignment);
  if (it == entries_.end()) {
    return absl::NotFoundError(
        StrCat("nothing is spooled for assignment ", assignment.value()));
  }
  return it->second;
}

absl::StatusOr<std::string> UpdateSpool::Read(const AssignmentId& assignment) {
  MLEDGE_ASSIGN_OR_RETURN(const Entry entry, Find(assignment));
  return ReadFile(entry.path);
}

absl::StatusOr<std::unique_ptr<SpooledUpdate>> UpdateSpool::OpenUpdate(
    const AssignmentId& assignment) {
  MLEDGE_ASSIGN_OR_RETURN(const Entry entry, Find(assignment));
  MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<UpdateFile> file,
                          UpdateFile::Map(entry.path));
  if (file->size_in_bytes() != entry.size_in_bytes) {
    return absl::InvalidArgumentError(StrCat(entry.path, " holds ",
                                             file->size_in_bytes(), " of ",
                                             entry.size_in_bytes, " bytes"));
  }
  return std::make_unique<MappedUpdate>(std::move(file));
}

absl::Status UpdateSpool::Discard(std::span<const AssignmentId> assignments) {
  absl::Status result = absl::OkStatus();
  MutexLock lock(&mutex_);
  for (const AssignmentId& assignment : assignments) {
    const auto it = entries_.find(assignment);
    if (it == entries_.end()) continue;
    if (unlink(it->second.path.c_str()) != 0 && errno != ENOENT) {
      result.Update(ErrnoToStatus(errno, "remove", it->second.path));
      continue;
    }
    entries_.erase(it);
  }
  return result;
}

std::vector<AssignmentId> UpdateSpool::Idle() {
  std::vector<AssignmentId> idle;
  MutexLock lock(&mutex_);
  MutexLock writers_lock(&open_writers_->mutex);
  for (const auto& [assignment, entry] : entries_) {
    if (!open_writers_->assignments.contains(assignment)) {
      idle.push_back(assignment);
    }
  }
  return idle;
}

}  // namespace mledge
