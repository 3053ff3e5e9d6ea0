#include "mledge/aggregation/secagg/transcript.h"

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

void AppendField(std::string& out, std::string_view field) {
  for (int shift = 56; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(uint64_t{field.size()} >> shift));
  }
  out.append(field);
}

std::string SerializeDeterministically(
    const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

bool HasUnknownFields(const google::protobuf::Message& message) {
  using google::protobuf::FieldDescriptor;
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  if (!reflection.GetUnknownFields(message).empty()) return true;
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* const field = type.field(i);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      if (reflection.HasField(message, field) &&
          HasUnknownFields(reflection.GetMessage(message, field))) {
        return true;
      }
      continue;
    }
    const int size = reflection.FieldSize(message, field);
    for (int j = 0; j < size; ++j) {
      if (HasUnknownFields(reflection.GetRepeatedMessage(message, field, j))) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

std::string SignedBytes(std::string_view context,
                        std::initializer_list<std::string_view> fields) {
  std::string out("mledge/v1/secagg");
  out.push_back('\0');
  AppendField(out, context);
  for (const std::string_view field : fields) AppendField(out, field);
  return out;
}

Digest SessionId(std::string_view offer, std::string_view directory,
                 uint32_t group) {
  return Sha256()
      .UpdateField("mledge/v1/secagg/session")
      .UpdateField(offer)
      .UpdateField(directory)
      .UpdateU64(group)
      .Finish();
}

Digest SetsHash(const Digest& session, uint32_t group, std::string_view alive,
                std::string_view dead) {
  return Sha256()
      .UpdateField("mledge/v1/secagg/sets")
      .UpdateField(session.ToBytes())
      .UpdateU64(group)
      .UpdateField(alive)
      .UpdateField(dead)
      .Finish();
}

absl::Status ParseExactly(std::string_view what, std::string_view bytes,
                          size_t limit_in_bytes,
                          google::protobuf::Message& message) {
  if (bytes.size() > limit_in_bytes) {
    return absl::InvalidArgumentError(StrCat(what, " of ", bytes.size(),
                                             " bytes, where at most ",
                                             limit_in_bytes, " are allowed"));
  }
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InvalidArgumentError(StrCat(what, " is malformed"));
  }
  message.DiscardUnknownFields();
  if (SerializeDeterministically(message) != bytes) {
    return absl::InvalidArgumentError(
        StrCat(what, " has unknown fields or is not in its one spelling"));
  }
  return absl::OkStatus();
}

absl::Status RefuseUnknownFields(std::string_view what,
                                 const google::protobuf::Message& message) {
  if (HasUnknownFields(message)) {
    return absl::InvalidArgumentError(
        StrCat(what, " has fields that this version does not know"));
  }
  return absl::OkStatus();
}

}  // namespace mledge::secagg
