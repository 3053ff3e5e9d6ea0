#include "mledge/task/internal/scalar_value.h"

#include <cmath>
#include <cstddef>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/duration.pb.h"
#include "mledge/core/strings.h"
#include "mledge/task/internal/nearest_name.h"

namespace mledge::task_internal {
namespace {

bool AllDigits(std::string_view text) {
  if (text.empty()) return false;
  for (char c : text) {
    if (!absl::ascii_isdigit(c)) return false;
  }
  return true;
}

std::string_view WithoutSign(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    text.remove_prefix(1);
  }
  return text;
}

// [sign] digits [. digits] [e [sign] digits], with digits on at least one side
// of the point: what JSON and people write, without names and hexadecimal.
bool LooksLikeNumber(std::string_view text) {
  text = WithoutSign(text);
  if (const size_t e = text.find_first_of("eE"); e != std::string_view::npos) {
    if (!AllDigits(WithoutSign(text.substr(e + 1)))) return false;
    text = text.substr(0, e);
  }
  const size_t point = text.find('.');
  if (point == std::string_view::npos) return AllDigits(text);
  const std::string_view before = text.substr(0, point);
  const std::string_view after = text.substr(point + 1);
  if (before.empty() && after.empty()) return false;
  return (before.empty() || AllDigits(before)) &&
         (after.empty() || AllDigits(after));
}

bool IsPlain(const TextNode& node) {
  return node.kind == TextNode::Kind::kScalar && !node.quoted;
}

}  // namespace

std::string Describe(const TextNode& node) {
  switch (node.kind) {
    case TextNode::Kind::kNull:
      return "nothing";
    case TextNode::Kind::kList:
      return "a list";
    case TextNode::Kind::kMap:
      return "named fields";
    case TextNode::Kind::kScalar:
      break;
  }
  constexpr size_t kShown = 60;
  std::string shown = absl::CHexEscape(node.scalar.substr(0, kShown));
  if (node.scalar.size() > kShown) shown += "...";
  if (!node.quoted && (LooksLikeNumber(node.scalar) || node.scalar == "true" ||
                       node.scalar == "false")) {
    return shown;
  }
  return StrCat("the text \"", shown, "\"");
}

absl::Status Expected(std::string_view wanted, const TextNode& found) {
  return absl::InvalidArgumentError(
      StrCat("expected ", wanted, ", found ", Describe(found)));
}

bool IsPlainInteger(const TextNode& node) {
  if (!IsPlain(node)) return false;
  const std::string_view digits = WithoutSign(node.scalar);
  return AllDigits(digits) && (digits.size() == 1 || digits[0] != '0');
}

absl::StatusOr<double> NumberValue(const TextNode& node, double largest) {
  double value = 0;
  if (!IsPlain(node) || !LooksLikeNumber(node.scalar) ||
      !absl::SimpleAtod(node.scalar, &value)) {
    return Expected("a number such as 0.1 or 1e-3", node);
  }
  if (!(std::fabs(value) <= largest)) {
    return Expected(StrCat("a number of magnitude at most ", largest), node);
  }
  return value;
}

absl::StatusOr<bool> BoolValue(const TextNode& node) {
  if (IsPlain(node) && node.scalar == "true") return true;
  if (IsPlain(node) && node.scalar == "false") return false;
  return Expected("true or false", node);
}

absl::StatusOr<std::string> TextValue(const TextNode& node) {
  if (node.kind != TextNode::Kind::kScalar) return Expected("text", node);
  return node.scalar;
}

absl::StatusOr<std::string> HexValue(const TextNode& node) {
  const auto wrong = [&node] {
    return Expected("bytes as hexadecimal digits, two a byte", node);
  };
  if (node.kind != TextNode::Kind::kScalar || node.scalar.size() % 2 != 0) {
    return wrong();
  }
  for (char c : node.scalar) {
    if (!absl::ascii_isxdigit(c)) return wrong();
  }
  return absl::HexStringToBytes(node.scalar);
}

bool IsDuration(const google::protobuf::FieldDescriptor& field) {
  return field.cpp_type() ==
             google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE &&
         field.message_type() == google::protobuf::Duration::descriptor();
}

absl::StatusOr<absl::Duration> DurationValue(const TextNode& node) {
  absl::Duration value;
  // Protobuf's own bound is 10000 years; a century is plenty and stays clear of
  // it.
  constexpr absl::Duration kLongest = absl::Hours(24 * 366 * 100);
  if (node.kind != TextNode::Kind::kScalar ||
      !absl::ParseDuration(node.scalar, &value) || value > kLongest ||
      value < -kLongest) {
    return Expected("a duration such as 90s, 10m or 1h30m", node);
  }
  return value;
}

std::string EnumName(const google::protobuf::EnumValueDescriptor& value) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(value.name()), {{"_", "-"}});
}

absl::StatusOr<const google::protobuf::EnumValueDescriptor*> EnumValue(
    const TextNode& node, const google::protobuf::EnumDescriptor& type) {
  std::vector<std::string> valid;
  const std::string written =
      node.kind == TextNode::Kind::kScalar
          ? absl::StrReplaceAll(node.scalar, {{"_", "-"}})
          : std::string();
  for (int i = 0; i < type.value_count(); ++i) {
    const google::protobuf::EnumValueDescriptor* value = type.value(i);
    if (absl::EndsWith(value->name(), "UNSPECIFIED")) continue;
    valid.push_back(EnumName(*value));
    if (valid.back() == written) return value;
  }
  return absl::InvalidArgumentError(
      StrCat("expected one of the names below, found ", Describe(node), "; ",
             SuggestName(written, valid)));
}

}  // namespace mledge::task_internal
