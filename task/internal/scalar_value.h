#ifndef MLEDGE_TASK_INTERNAL_SCALAR_VALUE_H_
#define MLEDGE_TASK_INTERNAL_SCALAR_VALUE_H_

#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "google/protobuf/descriptor.h"
#include "mledge/core/strings.h"
#include "mledge/task/internal/text_tree.h"

// One scalar of a text as a value of the wanted type. Errors are
// INVALID_ARGUMENT and read "expected …, found …", without a place: the caller
// knows file, line and field.

namespace mledge::task_internal {

// "the text "abc"", "3", "a list", "nothing": what stands there, for people.
std::string Describe(const TextNode& node);

absl::Status Expected(std::string_view wanted, const TextNode& found);

// A plain scalar of decimal digits, with a sign, without leading zeros.
bool IsPlainInteger(const TextNode& node);

template <typename Int>
absl::StatusOr<Int> IntegerValue(const TextNode& node) {
  Int value = 0;
  if (!IsPlainInteger(node) || !absl::SimpleAtoi(node.scalar, &value)) {
    return Expected(
        StrCat("a whole number from ", std::numeric_limits<Int>::min(), " to ",
               std::numeric_limits<Int>::max()),
        node);
  }
  return value;
}

// Finite; "0.1", "1e-3", "2". A magnitude above `largest` is refused.
absl::StatusOr<double> NumberValue(const TextNode& node, double largest);
absl::StatusOr<bool> BoolValue(const TextNode& node);
absl::StatusOr<std::string> TextValue(const TextNode& node);
// Bytes from hexadecimal digits.
absl::StatusOr<std::string> HexValue(const TextNode& node);
// Whether values of `field` are written as durations.
bool IsDuration(const google::protobuf::FieldDescriptor& field);
// Finite; "90s", "10m", "1h30m", "250ms".
absl::StatusOr<absl::Duration> DurationValue(const TextNode& node);

// "mean-squared-error" for MEAN_SQUARED_ERROR. Values that stand for "not
// given" (…_UNSPECIFIED) have no name that could be written.
std::string EnumName(const google::protobuf::EnumValueDescriptor& value);
absl::StatusOr<const google::protobuf::EnumValueDescriptor*> EnumValue(
    const TextNode& node, const google::protobuf::EnumDescriptor& type);

}  // namespace mledge::task_internal

#endif  // MLEDGE_TASK_INTERNAL_SCALAR_VALUE_H_
