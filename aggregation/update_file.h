#ifndef MLEDGE_AGGREGATION_UPDATE_FILE_H_
#define MLEDGE_AGGREGATION_UPDATE_FILE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/ids.h"
#include "mledge/core/sha256.h"
#include "mledge/core/update.h"

// An update as it is uploaded and spooled: the file format of
// proto/mledge/v1/update.proto, and UpdateView, which is what the aggregator
// reads, whether the values lie in a mapped file, in a buffer or in an Update
// that never left the process (the simulator). Thread-safe for different
// objects; an UpdateView is a value and may be read by several threads.

namespace mledge {

// For which assignment, and over which layout, an update was made.
struct UpdateContext {
  AssignmentId assignment_id;
  Digest layout_fingerprint;

  bool operator==(const UpdateContext&) const = default;
};

// Borrowed values of one update. Whoever owns the bytes keeps them alive.
struct UpdateView {
  struct Section {
    std::string name;
    std::span<const float> values;
  };
  UpdateContext context;
  int64_t weight = 0;
  std::vector<Section> sections;
  std::vector<UpdateScalar> scalars;

  // A view of an update in memory.
  static UpdateView Of(const Update& update, UpdateContext context);
  // A copy that owns its values.
  Update ToUpdate() const;
  const Section* FindSection(std::string_view name) const;
};

// What the first bytes of an update file say about the whole file.
struct UpdateFileHeader {
  struct Section {
    std::string name;
    int64_t elements = 0;
    uint64_t offset = 0;  // from the start of the file, in bytes
  };
  UpdateContext context;
  int64_t weight = 0;
  std::vector<Section> sections;
  std::vector<UpdateScalar> scalars;
  uint64_t header_size = 0;  // bytes up to the first section, padding included
  uint64_t file_size = 0;
};

inline constexpr size_t kMaximumUpdateHeaderInBytes = size_t{64} << 10;
inline constexpr int kMaximumUpdateSections = 64;
inline constexpr int kMaximumUpdateScalars = 256;

// Takes the next bytes of a file; an error ends the writing and is returned.
using ByteSink = std::function<absl::Status(std::string_view bytes)>;

// Size of the file that WriteUpdate would write, without writing it.
// INVALID_ARGUMENT: names that are no ids or appear twice, too many sections or
// scalars.
absl::StatusOr<uint64_t> SerializedUpdateSize(const UpdateView& update);
// Writes the file in pieces: first all up to the first section, then the
// sections' own memory, so that nothing of the model's size is copied.
absl::Status WriteUpdate(const UpdateView& update, const ByteSink& sink);
// The whole file in memory.
absl::StatusOr<std::string> SerializeUpdate(const Update& update,
                                            const UpdateContext& context);

// `prefix` is the start of a file of `file_size` bytes.
// OUT_OF_RANGE: `prefix` ends before the header does; call again with more (at
// most kMaximumUpdateHeaderInBytes + 128 bytes are ever needed).
// INVALID_ARGUMENT: not an update file, another version, header too long or
// unreadable, section twice, names that are no ids, negative sizes, sections
// that do not fill the file exactly.
absl::StatusOr<UpdateFileHeader> ParseUpdateHeader(
    std::span<const uint8_t> prefix, uint64_t file_size);

// The whole file as a view of `bytes`, which must be aligned to 4 bytes and
// outlive the view. Also checks that padding is zero. Values are not looked at:
// that is Aggregator::Validate.
// INVALID_ARGUMENT: as above; truncated; padding that is not zero.
absl::StatusOr<UpdateView> ParseUpdate(std::span<const uint8_t> bytes);

// An update file held open: mapped from a file or owned in memory.
class UpdateFile {
 public:
  // Also the codes of ErrnoToStatus. The file must not be changed while mapped.
  static absl::StatusOr<std::unique_ptr<UpdateFile>> Map(
      const std::string& path);
  static absl::StatusOr<std::unique_ptr<UpdateFile>> FromBytes(
      std::string bytes);
  ~UpdateFile();
  UpdateFile(const UpdateFile&) = delete;
  UpdateFile& operator=(const UpdateFile&) = delete;

  const UpdateView& view() const { return view_; }
  uint64_t size_in_bytes() const { return bytes_.size(); }

 private:
  UpdateFile() = default;

  std::string owned_;
  void* mapped_ = nullptr;  // null: owned_ holds the bytes
  std::span<const uint8_t> bytes_;
  UpdateView view_;
};

}  // namespace mledge

#endif  // MLEDGE_AGGREGATION_UPDATE_FILE_H_
