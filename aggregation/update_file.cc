#include "mledge/aggregation/update_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/v1/update.pb.h"

namespace mledge {
namespace {

static_assert(std::endian::native == std::endian::little,
              "update files are little-endian and used in place");

constexpr std::string_view kUpdateMagic = "MLEDGEUP";
constexpr uint32_t kVersion = 1;
constexpr size_t kPreambleSize = 16;  // magic, version, length of the header
constexpr uint64_t kAlignment = 64;
// Larger than any model; keeps sums of sizes far from overflow.
constexpr uint64_t kMostElements = uint64_t{1} << 40;

uint64_t AlignUp(uint64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

absl::Status Malformed(std::string_view what) {
  return absl::InvalidArgumentError(StrCat("update file: ", what));
}

// Rules for names and counts, the same for writing and for reading. `Items`
// have a `name`.
template <typename Items, typename Name>
absl::Status CheckNames(std::string_view what, const Items& items, size_t most,
                        Name name) {
  if (static_cast<size_t>(items.size()) > most) {
    return Malformed(
        StrCat(items.size(), " ", what, "s; at most ", most, " are taken"));
  }
  std::set<std::string_view> seen;
  for (const auto& item : items) {
    MLEDGE_RETURN_IF_ERROR(
        Annotate(ValidateId(what, name(item)), "update file"));
    if (!seen.insert(name(item)).second) {
      return Malformed(StrCat(what, " \"", name(item), "\" appears twice"));
    }
  }
  return absl::OkStatus();
}

void AppendU32(uint32_t value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

uint32_t ReadU32(std::span<const uint8_t> bytes, size_t offset) {
  uint32_t value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

// Everything up to the first section.
absl::StatusOr<std::string> SerializePrefix(const UpdateView& update) {
  const auto name = [](const auto& item) -> const std::string& {
    return item.name;
  };
  MLEDGE_RETURN_IF_ERROR(
      CheckNames("section", update.sections, kMaximumUpdateSections, name));
  MLEDGE_RETURN_IF_ERROR(
      CheckNames("scalar", update.scalars, kMaximumUpdateScalars, name));
  v1::UpdateHeader header;
  header.set_assignment_id(update.context.assignment_id.value());
  header.set_layout_fingerprint(update.context.layout_fingerprint.ToBytes());
  header.set_weight(update.weight);
  for (const UpdateView::Section& section : update.sections) {
    auto* added = header.add_sections();
    added->set_name(section.name);
    added->set_elements(static_cast<int64_t>(section.values.size()));
  }
  for (const UpdateScalar& scalar : update.scalars) {
    auto* added = header.add_scalars();
    added->set_name(scalar.name);
    added->set_value(scalar.value);
  }
  const std::string serialized = header.SerializeAsString();
  if (serialized.size() > kMaximumUpdateHeaderInBytes) {
    return Malformed(StrCat("a header of ", serialized.size(),
                            " bytes; at most ", kMaximumUpdateHeaderInBytes,
                            " are taken"));
  }
  std::string prefix(kUpdateMagic);
  AppendU32(kVersion, &prefix);
  AppendU32(static_cast<uint32_t>(serialized.size()), &prefix);
  prefix += serialized;
  prefix.resize(AlignUp(prefix.size()), '\0');
  return prefix;
}

bool HasUnknownFields(const v1::UpdateHeader& header) {
  const auto unknown = [](const google::protobuf::Message& message) {
    return !message.GetReflection()->GetUnknownFields(message).empty();
  };
  return unknown(header) || std::ranges::any_of(header.sections(), unknown) ||
         std::ranges::any_of(header.scalars(), unknown);
}

absl::StatusOr<UpdateFileHeader> FromProto(const v1::UpdateHeader& proto,
                                           uint64_t header_size,
                                           uint64_t file_size) {
  const auto name = [](const auto& item) -> const std::string& {
    return item.name();
  };
  MLEDGE_RETURN_IF_ERROR(
      CheckNames("section", proto.sections(), kMaximumUpdateSections, name));
  MLEDGE_RETURN_IF_ERROR(
      CheckNames("scalar", proto.scalars(), kMaximumUpdateScalars, name));
  UpdateFileHeader header{.weight = proto.weight(),
                          .header_size = header_size,
                          .file_size = file_size};
  header.context.assignment_id = AssignmentId(proto.assignment_id());
  MLEDGE_ASSIGN_OR_RETURN(header.context.layout_fingerprint,
                          Digest::FromBytes(proto.layout_fingerprint()));
  uint64_t end = header_size;
  for (const auto& section : proto.sections()) {
    if (section.elements() < 0 ||
        static_cast<uint64_t>(section.elements()) > kMostElements) {
      return Malformed(StrCat("section \"", section.name(), "\" of ",
                              section.elements(), " values"));
    }
    const uint64_t offset = AlignUp(end);
    header.sections.push_back({section.name(), section.elements(), offset});
    end = offset + static_cast<uint64_t>(section.elements()) * sizeof(float);
  }
  for (const auto& scalar : proto.scalars()) {
    header.scalars.push_back({scalar.name(), scalar.value()});
  }
  if (end != file_size) {
    return Malformed(StrCat("its header describes ", end,
                            " bytes, but the file has ", file_size));
  }
  return header;
}

}  // namespace

absl::StatusOr<uint64_t> SerializedUpdateSize(const UpdateView& update) {
  MLEDGE_ASSIGN_OR_RETURN(const std::string prefix, SerializePrefix(update));
  uint64_t end = prefix.size();
  for (const UpdateView::Section& section : update.sections) {
    end = AlignUp(end) + section.values.size_bytes();
  }
  return end;
}

absl::Status WriteUpdate(const UpdateView& update, const ByteSink& sink) {
  MLEDGE_ASSIGN_OR_RETURN(const std::string prefix, SerializePrefix(update));
  MLEDGE_RETURN_IF_ERROR(sink(prefix));
  uint64_t end = prefix.size();
  for (const UpdateView::Section& section : update.sections) {
    const std::string padding(AlignUp(end) - end, '\0');
    if (!padding.empty()) MLEDGE_RETURN_IF_ERROR(sink(padding));
    const std::string_view values(
        reinterpret_cast<const char*>(section.values.data()),
        section.values.size_bytes());
    if (!values.empty()) MLEDGE_RETURN_IF_ERROR(sink(values));
    end += padding.size() + values.size();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> SerializeUpdate(const Update& update,
                                            const UpdateContext& context) {
  const UpdateView view = UpdateView::Of(update, context);
  std::string bytes;
  MLEDGE_ASSIGN_OR_RETURN(const uint64_t size, SerializedUpdateSize(view));
  bytes.reserve(size);
  MLEDGE_RETURN_IF_ERROR(WriteUpdate(view, [&bytes](std::string_view piece) {
    bytes += piece;
    return absl::OkStatus();
  }));
  return bytes;
}

absl::StatusOr<UpdateFileHeader> ParseUpdateHeader(
    std::span<const uint8_t> prefix, uint64_t file_size) {
  const std::span<const uint8_t> magic =
      prefix.first(std::min(prefix.size(), kUpdateMagic.size()));
  if (!std::equal(magic.begin(), magic.end(), kUpdateMagic.begin())) {
    return Malformed("it does not start with MLEDGEUP");
  }
  if (file_size < kPreambleSize) {
    return Malformed(StrCat("truncated at ", file_size, " bytes"));
  }
  const auto need = [&prefix](uint64_t size) {
    return absl::OutOfRangeError(StrCat("the header of the update file takes ",
                                        size, " bytes, ", prefix.size(),
                                        " are here"));
  };
  if (prefix.size() < kPreambleSize) return need(kPreambleSize);
  if (const uint32_t version = ReadU32(prefix, 8); version != kVersion) {
    return Malformed(
        StrCat("format version ", version, "; this program reads ", kVersion));
  }
  const uint64_t length = ReadU32(prefix, 12);
  if (length > kMaximumUpdateHeaderInBytes) {
    return Malformed(StrCat("a header of ", length, " bytes; at most ",
                            kMaximumUpdateHeaderInBytes, " are taken"));
  }
  const uint64_t header_size = AlignUp(kPreambleSize + length);
  if (header_size > file_size) {
    return Malformed(
        StrCat("truncated at ", file_size, " bytes, in the header"));
  }
  if (prefix.size() < header_size) return need(header_size);
  for (uint64_t i = kPreambleSize + length; i < header_size; ++i) {
    if (prefix[i] != 0) return Malformed("padding that is not zero");
  }
  v1::UpdateHeader proto;
  if (!proto.ParseFromArray(prefix.data() + kPreambleSize,
                            static_cast<int>(length))) {
    return Malformed("its header cannot be read");
  }
  if (HasUnknownFields(proto)) {
    return Malformed("its header has fields that version 1 does not know");
  }
  return FromProto(proto, header_size, file_size);
}

absl::StatusOr<UpdateView> ParseUpdate(std::span<const uint8_t> bytes) {
  MLEDGE_ASSIGN_OR_RETURN(
      UpdateFileHeader header,
      ParseUpdateHeader(bytes.first(std::min<size_t>(
                            bytes.size(), kMaximumUpdateHeaderInBytes + 128)),
                        bytes.size()));
  if (reinterpret_cast<uintptr_t>(bytes.data()) % alignof(float) != 0) {
    return Malformed("its bytes lie at an address that no float can have");
  }
  UpdateView view{.context = std::move(header.context),
                  .weight = header.weight,
                  .scalars = std::move(header.scalars)};
  uint64_t end = header.header_size;
  for (UpdateFileHeader::Section& section : header.sections) {
    for (uint64_t i = end; i < section.offset; ++i) {
      if (bytes[i] != 0) return Malformed("padding that is not zero");
    }
    const auto elements = static_cast<size_t>(section.elements);
    view.sections.push_back(
        {std::move(section.name), std::span(reinterpret_cast<const float*>(
                                                bytes.data() + section.offset),
                                            elements)});
    end = section.offset + elements * sizeof(float);
  }
  return view;
}

absl::StatusOr<std::unique_ptr<UpdateFile>> UpdateFile::Map(
    const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return ErrnoToStatus(errno, "open", path);
  struct stat status {};
  if (fstat(descriptor, &status) != 0) {
    const int error = errno;
    close(descriptor);
    return ErrnoToStatus(error, "stat", path);
  }
  auto file = std::unique_ptr<UpdateFile>(new UpdateFile());
  const auto size = static_cast<size_t>(status.st_size);
  void* mapped =
      size == 0 ? MAP_FAILED
                : mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  const int error = errno;
  close(descriptor);
  if (size == 0) return Annotate(Malformed("empty"), path);
  if (mapped == MAP_FAILED) return ErrnoToStatus(error, "map", path);
  file->mapped_ = mapped;
  file->bytes_ = {static_cast<const uint8_t*>(mapped), size};
  absl::StatusOr<UpdateView> view = ParseUpdate(file->bytes_);
  if (!view.ok()) return Annotate(view.status(), path);
  file->view_ = *std::move(view);
  return file;
}

absl::StatusOr<std::unique_ptr<UpdateFile>> UpdateFile::FromBytes(
    std::string bytes) {
  auto file = std::unique_ptr<UpdateFile>(new UpdateFile());
  file->owned_ = std::move(bytes);
  file->bytes_ = {reinterpret_cast<const uint8_t*>(file->owned_.data()),
                  file->owned_.size()};
  MLEDGE_ASSIGN_OR_RETURN(file->view_, ParseUpdate(file->bytes_));
  return file;
}

UpdateFile::~UpdateFile() {
  if (mapped_ != nullptr) munmap(mapped_, bytes_.size());
}

}  // namespace mledge
