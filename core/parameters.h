#ifndef MLEDGE_CORE_PARAMETERS_H_
#define MLEDGE_CORE_PARAMETERS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/sha256.h"

// A model as one flat vector: the noun that travels through every stage of a
// round. ParameterLayout says what each range of it means; ParameterVector
// holds the values. Both are values without locks: const access from several
// threads is safe.

namespace mledge {

enum class ElementType {
  kFloat32,
  kFloat64,
  kFloat16,
  kInt64,
  kInt32,
  kBool,
  kUint8
};

enum class ParameterRole {
  kTrainable,       // trained on devices, averaged
  kAveragedBuffer,  // changed in training without a gradient, averaged
  kLocalBuffer,     // changed in training, never leaves the device
  kFrozen,          // fixed; travels with the package only
  kPersonal,        // trained, never leaves the device
};

struct ParameterEntry {
  std::string name;  // dotted path of the model's attribute, "fc1.weight"
  std::vector<int64_t> shape;  // logical shape; empty: a scalar
  // First element in the flat vector. Entries whose element type is not
  // kFloat32, and aliases, take no room of their own: not float state travels
  // as a blob of the package, an alias lies where the entry it names lies.
  int64_t offset = 0;
  ElementType element_type = ElementType::kFloat32;
  ParameterRole role = ParameterRole::kTrainable;
  std::string alias_of;  // name of the entry that owns the values; empty: none

  bool operator==(const ParameterEntry&) const = default;
  // Product of the shape; 1 for a scalar.
  int64_t element_count() const;
  // Elements that the entry owns in the flat vector.
  int64_t extent() const;
};

class ParameterLayout {
 public:
  // Sorts nothing: entries with an extent must come in the order trainable,
  // averaged buffer, then all others, so that what a device sends is one
  // prefix of the vector. Offsets are assigned here, ascending and dense; those
  // passed in are ignored.
  // INVALID_ARGUMENT: duplicate or empty name, negative or overflowing shape,
  // wrong order of roles, trainable entry or averaged buffer that is not
  // float32, alias of an unknown entry, of another alias, or with another
  // shape, element type or role than the entry it names.
  static absl::StatusOr<std::shared_ptr<const ParameterLayout>> Create(
      std::vector<ParameterEntry> entries);

  std::span<const ParameterEntry> entries() const { return entries_; }
  // The entry of that name, or null.
  const ParameterEntry* Find(std::string_view name) const;
  // Elements of the flat vector.
  int64_t size() const { return size_; }
  // Elements of the prefix that is trained by gradient.
  int64_t trainable_size() const { return trainable_size_; }
  // Elements of the prefix that devices send: trainable and averaged buffers.
  int64_t shared_size() const { return shared_size_; }
  // SHA-256 over all entries: two layouts with the same fingerprint are the
  // same layout.
  const Digest& fingerprint() const { return fingerprint_; }

 private:
  ParameterLayout() = default;
  std::vector<ParameterEntry> entries_;
  int64_t size_ = 0;
  int64_t trainable_size_ = 0;
  int64_t shared_size_ = 0;
  Digest fingerprint_;
};

// Float32 storage aligned to 64 bytes, zeroed.
class AlignedFloats {
 public:
  AlignedFloats() = default;
  explicit AlignedFloats(size_t size);
  AlignedFloats(const AlignedFloats& other);
  AlignedFloats& operator=(const AlignedFloats& other);
  AlignedFloats(AlignedFloats&& other) noexcept;
  AlignedFloats& operator=(AlignedFloats&& other) noexcept;
  ~AlignedFloats();

  size_t size() const { return size_; }
  std::span<float> span() { return {data_, size_}; }
  std::span<const float> span() const { return {data_, size_}; }

 private:
  float* data_ = nullptr;
  size_t size_ = 0;
};

// The values of one model: contiguous float32, row-major order of the logical
// shapes, `layout().size()` of them.
class ParameterVector {
 public:
  ParameterVector() = default;
  explicit ParameterVector(std::shared_ptr<const ParameterLayout> layout);
  // INVALID_ARGUMENT when `values.size()` is not `layout->size()`.
  static absl::StatusOr<ParameterVector> FromValues(
      std::shared_ptr<const ParameterLayout> layout,
      std::span<const float> values);

  const std::shared_ptr<const ParameterLayout>& layout() const {
    return layout_;
  }
  std::span<float> values() { return values_.span(); }
  std::span<const float> values() const { return values_.span(); }
  // Values of one entry (an alias: those of the entry it names; not float32:
  // none). Precondition: the entry is of this layout.
  std::span<const float> values(const ParameterEntry& entry) const;
  // SHA-256 over the little-endian bytes of the values.
  Digest ContentHash() const;

 private:
  std::shared_ptr<const ParameterLayout> layout_;
  AlignedFloats values_;
};

// Position of the first NaN or infinity, if there is one.
std::optional<size_t> FindNonFinite(std::span<const float> values);

std::string_view ToString(ElementType type);
std::string_view ToString(ParameterRole role);

}  // namespace mledge

#endif  // MLEDGE_CORE_PARAMETERS_H_
