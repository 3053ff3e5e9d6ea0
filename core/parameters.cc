#include "mledge/core/parameters.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <new>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr size_t kAlignmentInBytes = 64;

absl::Status EntryError(const ParameterEntry& entry, std::string_view problem) {
  return absl::InvalidArgumentError(
      StrCat("layout entry \"", absl::CHexEscape(entry.name), "\": ", problem));
}

std::string ShapeToString(const ParameterEntry& entry) {
  return StrCat("[", absl::StrJoin(entry.shape, ", "), "]");
}

// What is wrong with the entry by itself.
absl::Status ValidateEntry(const ParameterEntry& entry) {
  if (entry.name.empty()) {
    return absl::InvalidArgumentError("a layout entry has no name");
  }
  int64_t count = 1;
  bool overflow = false;
  for (const int64_t dimension : entry.shape) {
    if (dimension < 0) {
      return EntryError(entry, StrCat("shape ", ShapeToString(entry),
                                      " has a negative dimension"));
    }
    overflow |= __builtin_mul_overflow(count, dimension, &count);
  }
  if (overflow) {
    return EntryError(entry, StrCat("shape ", ShapeToString(entry),
                                    " has more elements than 64 bits "
                                    "can count"));
  }
  const bool is_shared = entry.role == ParameterRole::kTrainable ||
                         entry.role == ParameterRole::kAveragedBuffer;
  if (is_shared && entry.element_type != ElementType::kFloat32) {
    return EntryError(entry, StrCat("role ", ToString(entry.role),
                                    " needs element type float32, not ",
                                    ToString(entry.element_type)));
  }
  return absl::OkStatus();
}

absl::Status ValidateAlias(const ParameterEntry& alias,
                           const ParameterEntry* owner) {
  if (owner == nullptr) {
    return EntryError(alias,
                      StrCat("alias of \"", absl::CHexEscape(alias.alias_of),
                             "\", which is not in the layout"));
  }
  if (!owner->alias_of.empty()) {
    return EntryError(alias,
                      StrCat("alias of \"", absl::CHexEscape(owner->name),
                             "\", which is an alias itself: name the owner"));
  }
  if (alias.shape != owner->shape ||
      alias.element_type != owner->element_type || alias.role != owner->role) {
    return EntryError(
        alias,
        StrCat("alias of \"", absl::CHexEscape(owner->name),
               "\" with another shape, element type or role (",
               ShapeToString(alias), " ", ToString(alias.element_type), " ",
               ToString(alias.role), " against ", ShapeToString(*owner), " ",
               ToString(owner->element_type), " ", ToString(owner->role), ")"));
  }
  return absl::OkStatus();
}

// Where a role stands in the flat vector.
int PlaceOf(ParameterRole role) {
  switch (role) {
    case ParameterRole::kTrainable:
      return 0;
    case ParameterRole::kAveragedBuffer:
      return 1;
    default:
      return 2;
  }
}

Digest FingerprintOf(std::span<const ParameterEntry> entries) {
  Sha256 hash;
  hash.UpdateField("mledge parameter layout v1").UpdateU64(entries.size());
  for (const ParameterEntry& entry : entries) {
    hash.UpdateField(entry.name).UpdateU64(entry.shape.size());
    for (const int64_t dimension : entry.shape) {
      hash.UpdateU64(static_cast<uint64_t>(dimension));
    }
    hash.UpdateU64(static_cast<uint64_t>(entry.offset))
        .UpdateField(ToString(entry.element_type))
        .UpdateField(ToString(entry.role))
        .UpdateField(entry.alias_of);
  }
  return hash.Finish();
}

}  // namespace

int64_t ParameterEntry::element_count() const {
  int64_t count = 1;
  for (const int64_t dimension : shape) count *= dimension;
  return count;
}

int64_t ParameterEntry::extent() const {
  const bool owns = element_type == ElementType::kFloat32 && alias_of.empty();
  return owns ? element_count() : 0;
}

absl::StatusOr<std::shared_ptr<const ParameterLayout>> ParameterLayout::Create(
    std::vector<ParameterEntry> entries) {
  std::map<std::string_view, const ParameterEntry*> by_name;
  for (const ParameterEntry& entry : entries) {
    MLEDGE_RETURN_IF_ERROR(ValidateEntry(entry));
    if (!by_name.emplace(entry.name, &entry).second) {
      return EntryError(entry, "the name occurs twice");
    }
  }

  auto layout = std::shared_ptr<ParameterLayout>(new ParameterLayout());
  const ParameterEntry* previous = nullptr;
  for (ParameterEntry& entry : entries) {
    entry.offset = 0;
    const int64_t extent = entry.extent();
    if (extent == 0) continue;
    if (previous != nullptr && PlaceOf(entry.role) < PlaceOf(previous->role)) {
      return EntryError(
          entry, StrCat("role ", ToString(entry.role), " after \"",
                        absl::CHexEscape(previous->name), "\" with role ",
                        ToString(previous->role),
                        ": trainable entries come first, then averaged "
                        "buffers, then the others"));
    }
    previous = &entry;
    entry.offset = layout->size_;
    if (__builtin_add_overflow(layout->size_, extent, &layout->size_)) {
      return EntryError(entry,
                        "the layout has more elements than 64 bits can count");
    }
    if (PlaceOf(entry.role) == 0) layout->trainable_size_ = layout->size_;
    if (PlaceOf(entry.role) <= 1) layout->shared_size_ = layout->size_;
  }
  for (ParameterEntry& entry : entries) {
    if (entry.alias_of.empty()) continue;
    const auto owner = by_name.find(entry.alias_of);
    const ParameterEntry* const found =
        owner == by_name.end() ? nullptr : owner->second;
    MLEDGE_RETURN_IF_ERROR(ValidateAlias(entry, found));
    entry.offset = found->offset;
  }

  layout->entries_ = std::move(entries);
  layout->fingerprint_ = FingerprintOf(layout->entries_);
  return layout;
}

const ParameterEntry* ParameterLayout::Find(std::string_view name) const {
  for (const ParameterEntry& entry : entries_) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

AlignedFloats::AlignedFloats(size_t size) : size_(size) {
  if (size == 0) return;
  CHECK(size <= std::numeric_limits<size_t>::max() / sizeof(float));
  data_ = static_cast<float*>(::operator new(
      size * sizeof(float), std::align_val_t(kAlignmentInBytes)));
  std::memset(data_, 0, size * sizeof(float));
}

AlignedFloats::AlignedFloats(const AlignedFloats& other)
    : AlignedFloats(other.size_) {
  if (size_ != 0) std::memcpy(data_, other.data_, size_ * sizeof(float));
}

AlignedFloats& AlignedFloats::operator=(const AlignedFloats& other) {
  if (this == &other) return *this;
  if (size_ != other.size_) {
    *this = AlignedFloats(other);
  } else if (size_ != 0) {
    std::memcpy(data_, other.data_, size_ * sizeof(float));
  }
  return *this;
}

AlignedFloats::AlignedFloats(AlignedFloats&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

AlignedFloats& AlignedFloats::operator=(AlignedFloats&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

AlignedFloats::~AlignedFloats() {
  ::operator delete(data_, std::align_val_t(kAlignmentInBytes));
}

ParameterVector::ParameterVector(std::shared_ptr<const ParameterLayout> layout)
    : layout_(std::move(layout)),
      values_(static_cast<size_t>(layout_->size())) {}

absl::StatusOr<ParameterVector> ParameterVector::FromValues(
    std::shared_ptr<const ParameterLayout> layout,
    std::span<const float> values) {
  if (static_cast<int64_t>(values.size()) != layout->size()) {
    return absl::InvalidArgumentError(StrCat("the layout has ", layout->size(),
                                             " elements, but there are ",
                                             values.size(), " values"));
  }
  ParameterVector vector(std::move(layout));
  if (!values.empty()) {
    std::memcpy(vector.values().data(), values.data(), values.size_bytes());
  }
  return vector;
}

std::span<const float> ParameterVector::values(
    const ParameterEntry& entry) const {
  if (entry.element_type != ElementType::kFloat32) return {};
  const auto offset = static_cast<size_t>(entry.offset);
  const auto count = static_cast<size_t>(entry.element_count());
  CHECK(offset <= values_.size() && count <= values_.size() - offset)
      << "entry " << entry.name << " is of another layout";
  return values_.span().subspan(offset, count);
}

Digest ParameterVector::ContentHash() const {
  static_assert(std::endian::native == std::endian::little,
                "hashes are over little-endian bytes");
  const std::span<const float> floats = values();
  return Sha256Of(std::span<const uint8_t>(
      reinterpret_cast<const uint8_t*>(floats.data()), floats.size_bytes()));
}

std::optional<size_t> FindNonFinite(std::span<const float> values) {
  // Block by block without a branch inside, so that the compiler vectorizes.
  constexpr size_t kBlock = 1024;
  constexpr uint32_t kExponent = 0x7f800000;
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const std::span<const float> block =
        values.subspan(begin, std::min(kBlock, values.size() - begin));
    uint32_t found = 0;
    for (const float value : block) {
      found |= (std::bit_cast<uint32_t>(value) & kExponent) == kExponent;
    }
    if (found == 0) continue;
    for (size_t i = 0; i < block.size(); ++i) {
      if (!std::isfinite(block[i])) return begin + i;
    }
  }
  return std::nullopt;
}

std::string_view ToString(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return "float32";
    case ElementType::kFloat64:
      return "float64";
    case ElementType::kFloat16:
      return "float16";
    case ElementType::kInt64:
      return "int64";
    case ElementType::kInt32:
      return "int32";
    case ElementType::kBool:
      return "bool";
    case ElementType::kUint8:
      return "uint8";
  }
  return "unknown";
}

std::string_view ToString(ParameterRole role) {
  switch (role) {
    case ParameterRole::kTrainable:
      return "trainable";
    case ParameterRole::kAveragedBuffer:
      return "averaged buffer";
    case ParameterRole::kLocalBuffer:
      return "local buffer";
    case ParameterRole::kFrozen:
      return "frozen";
    case ParameterRole::kPersonal:
      return "personal";
  }
  return "unknown";
}

}  // namespace mledge
