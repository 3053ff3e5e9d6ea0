#include "mledge/task/strict_message.h"

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/task/internal/nearest_name.h"
#include "mledge/task/internal/scalar_value.h"
#include "mledge/task/internal/text_tree.h"

namespace mledge {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::Duration;
using ::google::protobuf::EnumValueDescriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::OneofDescriptor;
using ::google::protobuf::Reflection;
using task_internal::BoolValue;
using task_internal::Describe;
using task_internal::DurationValue;
using task_internal::EnumValue;
using task_internal::Expected;
using task_internal::HexValue;
using task_internal::IntegerValue;
using task_internal::IsDuration;
using task_internal::NumberValue;
using task_internal::ParseTextTree;
using task_internal::SuggestName;
using task_internal::TextNode;
using task_internal::TextValue;

std::vector<std::string> FieldNames(const Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) {
    names.push_back(type.field(i)->name());
  }
  return names;
}

std::string Join(std::string_view path, std::string_view name) {
  return path.empty() ? std::string(name) : StrCat(path, ".", name);
}

// Writes one value to a field: sets it where the field is singular, adds it
// where it is repeated. Type mismatches cannot happen: `field` chose the type.
class FieldWriter {
 public:
  FieldWriter(Message* message, const FieldDescriptor* field)
      : message_(message),
        field_(field),
        reflection_(message->GetReflection()) {}

  template <typename Value, typename Set, typename Add>
  void Write(Value value, Set set, Add add) {
    if (field_->is_repeated()) {
      (reflection_->*add)(message_, field_, std::move(value));
    } else {
      (reflection_->*set)(message_, field_, std::move(value));
    }
  }
  Message* MutableMessage() {
    return field_->is_repeated()
               ? reflection_->AddMessage(message_, field_)
               : reflection_->MutableMessage(message_, field_);
  }

 private:
  Message* message_;
  const FieldDescriptor* field_;
  const Reflection* reflection_;
};

// A scalar without its place; Filler adds that.
absl::Status WriteScalar(const TextNode& node, const FieldDescriptor* field,
                         Message* message) {
  FieldWriter writer(message, field);
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: {
      MLEDGE_ASSIGN_OR_RETURN(int32_t value, IntegerValue<int32_t>(node));
      writer.Write(value, &Reflection::SetInt32, &Reflection::AddInt32);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      MLEDGE_ASSIGN_OR_RETURN(int64_t value, IntegerValue<int64_t>(node));
      writer.Write(value, &Reflection::SetInt64, &Reflection::AddInt64);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      MLEDGE_ASSIGN_OR_RETURN(uint32_t value, IntegerValue<uint32_t>(node));
      writer.Write(value, &Reflection::SetUInt32, &Reflection::AddUInt32);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      MLEDGE_ASSIGN_OR_RETURN(uint64_t value, IntegerValue<uint64_t>(node));
      writer.Write(value, &Reflection::SetUInt64, &Reflection::AddUInt64);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      MLEDGE_ASSIGN_OR_RETURN(
          double value, NumberValue(node, std::numeric_limits<double>::max()));
      writer.Write(value, &Reflection::SetDouble, &Reflection::AddDouble);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_FLOAT: {
      MLEDGE_ASSIGN_OR_RETURN(
          double value, NumberValue(node, std::numeric_limits<float>::max()));
      writer.Write(static_cast<float>(value), &Reflection::SetFloat,
                   &Reflection::AddFloat);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_BOOL: {
      MLEDGE_ASSIGN_OR_RETURN(bool value, BoolValue(node));
      writer.Write(value, &Reflection::SetBool, &Reflection::AddBool);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      MLEDGE_ASSIGN_OR_RETURN(const EnumValueDescriptor* value,
                              EnumValue(node, *field->enum_type()));
      writer.Write(value, &Reflection::SetEnum, &Reflection::AddEnum);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_STRING: {
      MLEDGE_ASSIGN_OR_RETURN(std::string value,
                              field->type() == FieldDescriptor::TYPE_BYTES
                                  ? HexValue(node)
                                  : TextValue(node));
      writer.Write(std::move(value), &Reflection::SetString,
                   &Reflection::AddString);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_MESSAGE: {  // Duration; Filler did the others
      MLEDGE_ASSIGN_OR_RETURN(absl::Duration value, DurationValue(node));
      Message* duration = writer.MutableMessage();
      const int64_t seconds =
          absl::IDivDuration(value, absl::Seconds(1), &value);
      const Descriptor* type = Duration::descriptor();
      const Reflection* reflection = duration->GetReflection();
      reflection->SetInt64(duration, type->FindFieldByName("seconds"), seconds);
      reflection->SetInt32(
          duration, type->FindFieldByName("nanos"),
          static_cast<int32_t>(absl::ToInt64Nanoseconds(value)));
      return absl::OkStatus();
    }
  }
  return absl::InternalError("a field type that this parser does not know");
}

// Carries the file's name down the tree.
class Filler {
 public:
  explicit Filler(std::string_view file_name) : file_name_(file_name) {}

  // The fields of `node` into `message`; `path` leads to `message`.
  absl::Status FillMessage(const TextNode& node, const std::string& path,
                           Message* message) const {
    if (node.kind == TextNode::Kind::kNull) return absl::OkStatus();
    const Descriptor* type = message->GetDescriptor();
    if (node.kind != TextNode::Kind::kMap) {
      return At(
          node, path,
          Expected(StrCat("fields (", SuggestName("", FieldNames(*type)), ")"),
                   node));
    }
    std::map<const FieldDescriptor*, int> lines;
    std::map<const OneofDescriptor*, const FieldDescriptor*> chosen;
    for (const auto& [key, value] : node.fields) {
      const std::string field_path = Join(path, key.scalar);
      const FieldDescriptor* field = type->FindFieldByName(key.scalar);
      if (field == nullptr) {
        return At(key, field_path,
                  absl::InvalidArgumentError(
                      StrCat("unknown field; ",
                             SuggestName(key.scalar, FieldNames(*type)))));
      }
      if (auto [it, is_new] = lines.emplace(field, key.line); !is_new) {
        return At(
            key, field_path,
            absl::InvalidArgumentError(StrCat("given twice, first on line ",
                                              it->second, "; leave one out")));
      }
      if (const OneofDescriptor* oneof = field->real_containing_oneof()) {
        if (auto [it, is_new] = chosen.emplace(oneof, field); !is_new) {
          return At(key, field_path,
                    absl::InvalidArgumentError(StrCat(
                        "only one of \"", it->second->name(), "\" and \"",
                        field->name(), "\" can be given; leave one out")));
        }
      }
      MLEDGE_RETURN_IF_ERROR(FillField(value, field_path, field, message));
    }
    return absl::OkStatus();
  }

  absl::Status FillField(const TextNode& node, const std::string& path,
                         const FieldDescriptor* field, Message* message) const {
    if (!field->is_repeated()) return FillOne(node, path, field, message);
    if (field->is_map()) {
      return At(node, path,
                absl::InternalError("maps cannot be read from files"));
    }
    if (node.kind != TextNode::Kind::kList) {
      return At(node, path, Expected("a list such as [a, b]", node));
    }
    for (size_t i = 0; i < node.items.size(); ++i) {
      MLEDGE_RETURN_IF_ERROR(
          FillOne(node.items[i], StrCat(path, "[", i, "]"), field, message));
    }
    return absl::OkStatus();
  }

  // "FILE:LINE:COLUMN: PATH: what".
  absl::Status At(const TextNode& node, std::string_view path,
                  const absl::Status& what) const {
    if (what.ok()) return what;
    const std::string field = path.empty() ? std::string() : StrCat(path, ": ");
    return Annotate(
        absl::Status(what.code(), StrCat(field, ToStdView(what.message()))),
        StrCat(file_name_, ":", node.line, ":", node.column));
  }

 private:
  absl::Status FillOne(const TextNode& node, const std::string& path,
                       const FieldDescriptor* field, Message* message) const {
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
        !IsDuration(*field)) {
      return FillMessage(node, path,
                         FieldWriter(message, field).MutableMessage());
    }
    return At(node, path, WriteScalar(node, field, message));
  }

  const std::string_view file_name_;
};

}  // namespace

absl::Status ParseYamlInto(std::string_view text, std::string_view file_name,
                           Message* out) {
  MLEDGE_ASSIGN_OR_RETURN(const TextNode root, ParseTextTree(text, file_name));
  return Filler(file_name).FillMessage(root, "", out);
}

absl::Status SetField(Message* message, std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    return absl::InvalidArgumentError(
        StrCat("\"", assignment,
               "\": expected FIELD=VALUE, such as local_training.epochs=5"));
  }
  const std::string path(
      absl::StripAsciiWhitespace(ToAbslView(assignment.substr(0, equals))));
  const std::string where = StrCat("\"", assignment, "\"");
  MLEDGE_ASSIGN_OR_RETURN(const TextNode value,
                          ParseTextTree(assignment.substr(equals + 1), where));
  const std::vector<std::string> names = absl::StrSplit(path, '.');
  for (size_t i = 0;; ++i) {
    const Descriptor* type = message->GetDescriptor();
    const FieldDescriptor* field = type->FindFieldByName(names[i]);
    if (field == nullptr) {
      return absl::InvalidArgumentError(
          StrCat(where, ": unknown field \"", names[i], "\"; ",
                 SuggestName(names[i], FieldNames(*type))));
    }
    const Reflection* reflection = message->GetReflection();
    if (i + 1 == names.size()) {
      reflection->ClearField(message, field);
      return Filler(where).FillField(value, path, field, message);
    }
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE ||
        field->is_repeated() || IsDuration(*field)) {
      return absl::InvalidArgumentError(
          StrCat(where, ": \"", names[i],
                 "\" has no fields of its own; set it as a whole"));
    }
    message = reflection->MutableMessage(message, field);
  }
}

}  // namespace mledge
