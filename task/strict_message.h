#ifndef MLEDGE_TASK_STRICT_MESSAGE_H_
#define MLEDGE_TASK_STRICT_MESSAGE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

// Files that people write, read strictly into Protobuf messages: task files and
// configurations, in YAML or JSON (which is YAML as well). A field is named as
// in the .proto file; nothing is guessed, converted or passed over:
//
//   - an unknown field or enumeration value is an error that names the nearest
//     valid one; so is a field given twice, and a second member of a oneof;
//   - numbers are decimal and in range; a number in quotes is text; integers
//     have no point and no exponent; NaN and infinity are refused;
//   - enumerations are lower-case names with '-' or '_' ("examples"), durations
//     "90s", "10m", "1h30m", bytes hexadecimal digits;
//   - a message with nothing in it (`iid:` or `iid: {}`) is present;
//   - anchors, aliases, tags and several documents in one file are refused, so
//     a short file cannot stand for a large one.
//
// Errors are INVALID_ARGUMENT and read "FILE:LINE:COLUMN: FIELD: what is wrong
// and what to write". Thread-safe; no state.

namespace mledge {

inline constexpr size_t kMaximumTextSizeInBytes = size_t{4} << 20;
inline constexpr int kMaximumTextDepth = 32;

// Merges `text` into `out`, whose fields should be unset. `file_name` is for
// messages only. On error `out` holds some of the fields.
absl::Status ParseYamlInto(std::string_view text, std::string_view file_name,
                           google::protobuf::Message* out);

// `assignment` is "FIELD=VALUE" with a dotted field path and a value as it
// would stand in the file: "local_training.sgd.learning_rate=0.1",
// "model.built_in.hidden=[64, 32]". Replaces what was there, including another
// member of the same oneof. Errors as above, naming the assignment instead of a
// file.
absl::Status SetField(google::protobuf::Message* message,
                      std::string_view assignment);

// The message as YAML that ParseYamlInto reads back into an equal message.
// Numbers and enumerations are written also where they are zero; texts, lists
// and messages only where they are there.
std::string MessageToYaml(const google::protobuf::Message& message);

}  // namespace mledge

#endif  // MLEDGE_TASK_STRICT_MESSAGE_H_
