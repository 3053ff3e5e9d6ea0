#include "mledge/client/idx_source.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "mledge/client/compressed_file.h"
#include "mledge/client/memory_store.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr size_t kMagicBytes = 4;
constexpr size_t kSizeBytes = 4;
constexpr int kUnsignedByte = 0x08;
constexpr int kMaximumDimensions = 8;

uint8_t ByteAt(std::string_view bytes, size_t offset) {
  return static_cast<uint8_t>(bytes[offset]);
}

uint32_t BigEndian32(std::string_view bytes, size_t offset) {
  return uint32_t{ByteAt(bytes, offset)} << 24 |
         uint32_t{ByteAt(bytes, offset + 1)} << 16 |
         uint32_t{ByteAt(bytes, offset + 2)} << 8 |
         uint32_t{ByteAt(bytes, offset + 3)};
}

absl::Status EndsTooEarly(std::string_view name, size_t have, int64_t need,
                          std::string_view what) {
  return absl::DataLossError(StrCat(name, ": the file ends at byte ", have,
                                    ", but ", what, " reach",
                                    what.ends_with('s') ? "" : "es",
                                    " to byte ", need, "; get the file again"));
}

std::string ElementTypeName(int code) {
  switch (code) {
    case 0x09:
      return "signed bytes";
    case 0x0B:
      return "16-bit integers";
    case 0x0C:
      return "32-bit integers";
    case 0x0D:
      return "32-bit floats";
    case 0x0E:
      return "64-bit floats";
    default:
      return StrCat("unknown type ", code);
  }
}

}  // namespace

absl::StatusOr<IdxArray> ParseIdx(std::string_view name, std::string bytes) {
  if (bytes.size() < kMagicBytes) {
    return EndsTooEarly(name, bytes.size(), kMagicBytes, "the magic number");
  }
  const int type = ByteAt(bytes, 2);
  const int dimensions = ByteAt(bytes, 3);
  const bool known_type =
      type == kUnsignedByte || type == 0x09 || (type >= 0x0B && type <= 0x0E);
  if (bytes[0] != 0 || bytes[1] != 0 || !known_type) {
    char magic[16];
    std::snprintf(magic, sizeof(magic), "0x%08x", BigEndian32(bytes, 0));
    return absl::InvalidArgumentError(
        StrCat(name, ": byte 0 begins with ", std::string_view(magic),
               ", which is no IDX magic number (0x00000803 for images, "
               "0x00000801 for labels); is it another file?"));
  }
  if (type != kUnsignedByte) {
    return absl::InvalidArgumentError(StrCat(
        name, ": byte 2 says that the values are ", ElementTypeName(type),
        ", but only unsigned bytes (8) are read; convert the file, or "
        "use a CSV file"));
  }
  if (dimensions < 1 || dimensions > kMaximumDimensions) {
    return absl::InvalidArgumentError(
        StrCat(name, ": byte 3 says ", dimensions, " dimensions; 1 to ",
               kMaximumDimensions, " were expected"));
  }
  IdxArray array;
  array.values_offset = kMagicBytes + kSizeBytes * dimensions;
  if (bytes.size() < array.values_offset) {
    return EndsTooEarly(name, bytes.size(),
                        static_cast<int64_t>(array.values_offset),
                        "the sizes of the dimensions");
  }
  int64_t count = 1;
  for (int i = 0; i < dimensions; ++i) {
    const size_t offset = kMagicBytes + kSizeBytes * i;
    const int64_t size = BigEndian32(bytes, offset);
    if (size == 0) {
      return absl::InvalidArgumentError(
          StrCat(name, ": dimension ", i, " (byte ", offset,
                 ") is 0; the file holds no values"));
    }
    if (size > kMaximumDataFileBytes / count) {
      return absl::InvalidArgumentError(
          StrCat(name, ": dimension ", i, " (byte ", offset, ") is ", size,
                 ", which makes more than ", kMaximumDataFileBytes,
                 " values; the header is damaged, or the file is too large"));
    }
    count *= size;
    array.shape.push_back(size);
  }
  const int64_t end = static_cast<int64_t>(array.values_offset) + count;
  const int64_t have = static_cast<int64_t>(bytes.size());
  if (have < end) return EndsTooEarly(name, bytes.size(), end, "its values");
  if (have > end) {
    return absl::InvalidArgumentError(
        StrCat(name, ": ", have - end,
               " bytes follow the last value, which "
               "ends at byte ",
               end, "; the header and the contents disagree"));
  }
  array.bytes = std::move(bytes);
  return array;
}

absl::StatusOr<std::unique_ptr<IdxStore>> IdxStore::Create(IdxArray images,
                                                           IdxArray labels,
                                                           Options options) {
  if (!std::isfinite(options.mean) ||
      !std::isfinite(options.standard_deviation) ||
      options.standard_deviation <= 0) {
    return absl::InvalidArgumentError(
        StrCat(options.images_name, ": mean ", options.mean,
               " and standard deviation ", options.standard_deviation,
               " cannot scale pixels; the deviation must be above 0"));
  }
  if (images.shape.size() < 2) {
    return absl::InvalidArgumentError(
        StrCat(options.images_name, ": byte 3 says ", images.shape.size(),
               " dimension, but images have at least 2 (number, pixels...); "
               "were images and labels exchanged?"));
  }
  if (labels.shape.size() != 1) {
    return absl::InvalidArgumentError(
        StrCat(options.labels_name, ": byte 3 says ", labels.shape.size(),
               " dimensions, but labels have 1 (number); were images and "
               "labels exchanged?"));
  }
  if (images.shape[0] != labels.shape[0]) {
    return absl::InvalidArgumentError(
        StrCat(options.images_name, " holds ", images.shape[0], " images, but ",
               options.labels_name, " ", labels.shape[0],
               " labels (bytes 4 to 7 of each); take two files that belong "
               "together"));
  }
  const std::string_view values = labels.values();
  int64_t classes = options.classes;
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t label = ByteAt(values, i);
    if (options.classes > 0 && label >= options.classes) {
      return absl::InvalidArgumentError(StrCat(
          options.labels_name, ": label ", label, " of example ", i, " (byte ",
          labels.values_offset + i, ") is outside 0 ... ", options.classes - 1,
          "; the model has too few outputs for these data, or the file "
          "is another one"));
    }
    classes = std::max(classes, label + 1);
  }
  return std::unique_ptr<IdxStore>(
      new IdxStore(std::move(images), std::move(labels), classes, options));
}

absl::StatusOr<std::unique_ptr<IdxStore>> IdxStore::Open(
    const std::string& images_path, const std::string& labels_path,
    Options options) {
  options.images_name = images_path;
  options.labels_name = labels_path;
  MLEDGE_ASSIGN_OR_RETURN(std::string image_bytes,
                          ReadMaybeGzippedFile(images_path));
  MLEDGE_ASSIGN_OR_RETURN(IdxArray images,
                          ParseIdx(images_path, std::move(image_bytes)));
  MLEDGE_ASSIGN_OR_RETURN(std::string label_bytes,
                          ReadMaybeGzippedFile(labels_path));
  MLEDGE_ASSIGN_OR_RETURN(IdxArray labels,
                          ParseIdx(labels_path, std::move(label_bytes)));
  return Create(std::move(images), std::move(labels), std::move(options));
}

IdxStore::IdxStore(IdxArray images, IdxArray labels, int64_t classes,
                   const Options& options)
    : images_(std::move(images)),
      labels_(std::move(labels)),
      classes_(classes),
      pixels_(static_cast<int64_t>(images_.values().size()) /
              images_.shape[0]) {
  input_.shape.assign(images_.shape.begin() + 1, images_.shape.end());
  for (int byte = 0; byte < 256; ++byte) {
    const float scaled = static_cast<float>(byte) / 255.0f;
    value_of_byte_[byte] = (scaled - options.mean) / options.standard_deviation;
  }
}

absl::Status IdxStore::Read(std::span<const int64_t> positions,
                            ExampleBatch* batch) const {
  const std::string_view pixels = images_.values();
  const std::string_view labels = labels_.values();
  batch->size = static_cast<int64_t>(positions.size());
  batch->inputs.resize(positions.size() * pixels_);
  batch->class_labels.resize(positions.size());
  batch->index_inputs.clear();
  batch->label_values.clear();
  float* out = batch->inputs.data();
  for (size_t i = 0; i < positions.size(); ++i) {
    const int64_t position = positions[i];
    if (position < 0 || position >= size()) {
      return PositionOutOfRange(position, size());
    }
    const auto* in =
        reinterpret_cast<const uint8_t*>(pixels.data()) + position * pixels_;
    for (int64_t j = 0; j < pixels_; ++j) *out++ = value_of_byte_[in[j]];
    batch->class_labels[i] = ByteAt(labels, position);
  }
  return absl::OkStatus();
}

}  // namespace mledge
