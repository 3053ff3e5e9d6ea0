#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/message.h"
#include "mledge/core/strings.h"
#include "mledge/task/internal/scalar_value.h"
#include "mledge/task/strict_message.h"

namespace mledge {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::Reflection;

// The shortest text that reads back as the same number.
template <typename Float>
std::string NumberText(Float value) {
  char buffer[64];
  const auto [end, error] =
      std::to_chars(buffer, buffer + sizeof(buffer), value);
  return std::string(buffer, end);
}

std::string QuotedText(std::string_view text) {
  // A name or a path needs no quotes; what could be read as something else or
  // holds YAML's own signs does.
  bool plain = !text.empty() && (absl::ascii_isalpha(text[0]) ||
                                 text[0] == '/' || text[0] == '.');
  for (char c : text) {
    plain = plain && (absl::ascii_isalnum(c) || absl::StrContains("._/-", c));
  }
  const std::string lower = absl::AsciiStrToLower(ToAbslView(text));
  if (plain && lower != "null" && text != "..." && text != ".") {
    return std::string(text);
  }
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      StrAppend(&quoted, "\\", std::string(1, c));
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      StrAppend(&quoted, "\\x", absl::BytesToHexString(std::string(1, c)));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string DurationText(const Message& message) {
  const Reflection* reflection = message.GetReflection();
  const auto* type = message.GetDescriptor();
  return absl::FormatDuration(absl::Seconds(reflection->GetInt64(
                                  message, type->FindFieldByName("seconds"))) +
                              absl::Nanoseconds(reflection->GetInt32(
                                  message, type->FindFieldByName("nanos"))));
}

// A scalar; `index` is -1 for a singular field.
std::string ScalarText(const Message& message, const FieldDescriptor* field,
                       int index) {
  const Reflection* reflection = message.GetReflection();
  const auto get = [&](auto singular, auto repeated) {
    return index < 0 ? (reflection->*singular)(message, field)
                     : (reflection->*repeated)(message, field, index);
  };
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return StrCat(get(&Reflection::GetInt32, &Reflection::GetRepeatedInt32));
    case FieldDescriptor::CPPTYPE_INT64:
      return StrCat(get(&Reflection::GetInt64, &Reflection::GetRepeatedInt64));
    case FieldDescriptor::CPPTYPE_UINT32:
      return StrCat(
          get(&Reflection::GetUInt32, &Reflection::GetRepeatedUInt32));
    case FieldDescriptor::CPPTYPE_UINT64:
      return StrCat(
          get(&Reflection::GetUInt64, &Reflection::GetRepeatedUInt64));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return NumberText(
          get(&Reflection::GetDouble, &Reflection::GetRepeatedDouble));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return NumberText(
          get(&Reflection::GetFloat, &Reflection::GetRepeatedFloat));
    case FieldDescriptor::CPPTYPE_BOOL:
      return get(&Reflection::GetBool, &Reflection::GetRepeatedBool) ? "true"
                                                                     : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return task_internal::EnumName(
          *get(&Reflection::GetEnum, &Reflection::GetRepeatedEnum));
    case FieldDescriptor::CPPTYPE_STRING: {
      const std::string text =
          get(&Reflection::GetString, &Reflection::GetRepeatedString);
      return field->type() == FieldDescriptor::TYPE_BYTES
                 ? StrCat("\"", absl::BytesToHexString(text), "\"")
                 : QuotedText(text);
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return DurationText(
          index < 0 ? reflection->GetMessage(message, field)
                    : reflection->GetRepeatedMessage(message, field, index));
  }
  return "";
}

bool IsWritten(const Message& message, const FieldDescriptor* field) {
  const Reflection* reflection = message.GetReflection();
  if (field->is_repeated()) return reflection->FieldSize(message, field) > 0;
  if (field->has_presence()) return reflection->HasField(message, field);
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection->HasField(message, field);
    case FieldDescriptor::CPPTYPE_ENUM: {
      const auto* value = reflection->GetEnum(message, field);
      return !absl::EndsWith(value->name(), "UNSPECIFIED");
    }
    default:
      return true;
  }
}

void AppendFields(const Message& message, const std::string& indent,
                  std::string* out);

void AppendMessage(const Message& message, const std::string& indent,
                   std::string* out) {
  std::string fields;
  AppendFields(message, indent, &fields);
  StrAppend(out, fields.empty() ? " {}\n" : "\n", fields);
}

void AppendRepeated(const Message& message, const FieldDescriptor* field,
                    const std::string& indent, std::string* out) {
  const Reflection* reflection = message.GetReflection();
  const int size = reflection->FieldSize(message, field);
  if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE ||
      task_internal::IsDuration(*field)) {
    StrAppend(out, " [");
    for (int i = 0; i < size; ++i) {
      StrAppend(out, i == 0 ? "" : ", ", ScalarText(message, field, i));
    }
    StrAppend(out, "]\n");
    return;
  }
  StrAppend(out, "\n");
  for (int i = 0; i < size; ++i) {
    StrAppend(out, indent, "  -");
    AppendMessage(reflection->GetRepeatedMessage(message, field, i),
                  indent + "    ", out);
  }
}

void AppendFields(const Message& message, const std::string& indent,
                  std::string* out) {
  const auto* type = message.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    if (!IsWritten(message, field)) continue;
    StrAppend(out, indent, field->name(), ":");
    if (field->is_repeated()) {
      AppendRepeated(message, field, indent, out);
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
               !task_internal::IsDuration(*field)) {
      AppendMessage(message.GetReflection()->GetMessage(message, field),
                    indent + "  ", out);
    } else {
      StrAppend(out, " ", ScalarText(message, field, -1), "\n");
    }
  }
}

}  // namespace

std::string MessageToYaml(const Message& message) {
  std::string text;
  AppendFields(message, "", &text);
  return text;
}

}  // namespace mledge
