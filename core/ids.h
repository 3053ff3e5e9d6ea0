#ifndef MLEDGE_CORE_IDS_H_
#define MLEDGE_CORE_IDS_H_

#include <compare>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"

// Identifiers as strong types, so that two of them cannot be swapped.

namespace mledge {

// A name chosen by people or taken from a certificate.
template <typename Tag>
class StringId {
 public:
  StringId() = default;
  explicit StringId(std::string value) : value_(std::move(value)) {}

  const std::string& value() const { return value_; }
  bool empty() const { return value_.empty(); }
  auto operator<=>(const StringId&) const = default;

  template <typename H>
  friend H AbslHashValue(H h, const StringId& id) {
    return H::combine(std::move(h), id.value_);
  }
  friend std::ostream& operator<<(std::ostream& os, const StringId& id) {
    return os << id.value_;
  }

 private:
  std::string value_;
};

// A count that starts at 0 unless its alias says otherwise.
template <typename Tag>
class NumberId {
 public:
  constexpr NumberId() = default;
  constexpr explicit NumberId(int64_t value) : value_(value) {}

  constexpr int64_t value() const { return value_; }
  constexpr NumberId Next() const { return NumberId(value_ + 1); }
  auto operator<=>(const NumberId&) const = default;

  template <typename H>
  friend H AbslHashValue(H h, const NumberId& id) {
    return H::combine(std::move(h), id.value_);
  }
  friend std::ostream& operator<<(std::ostream& os, const NumberId& id) {
    return os << id.value_;
  }

 private:
  int64_t value_ = 0;
};

using TaskId = StringId<struct TaskIdTag>;
using DeviceId = StringId<struct DeviceIdTag>;
using AssignmentId = StringId<struct AssignmentIdTag>;
// Rounds of a task count from 1; 0 is "before the first".
using RoundNumber = NumberId<struct RoundNumberTag>;
// Model versions of a task; 0 is the package's initial parameters.
using VersionNumber = NumberId<struct VersionNumberTag>;
// How many assignments of a task a device was handed before this one.
using AssignmentOrdinal = NumberId<struct AssignmentOrdinalTag>;

// Task and device ids: 1 to 128 characters of [A-Za-z0-9._-], not starting
// with '.' or '-', so that they are safe as file names and in URIs.
// INVALID_ARGUMENT names `what` and the offending character.
absl::Status ValidateId(std::string_view what, std::string_view id);

}  // namespace mledge

#endif  // MLEDGE_CORE_IDS_H_
