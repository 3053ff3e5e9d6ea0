#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "google/protobuf/message.h"
#include "mledge/core/logging.h"
#include "mledge/task/strict_message.h"
#include "mledge/task/task_file.h"
#include "mledge/task/validation.h"
#include "mledge/v1/config.pb.h"
#include "mledge/v1/model.pb.h"
#include "mledge/v1/task.pb.h"

// Text from outside as a task file, as a configuration, as a message with bytes
// and with repeated messages, and as a `--set`. What is accepted must be
// written and read again as the same message; a validated task must stay as it
// is when it is validated again.

namespace mledge {
namespace {

template <typename Message>
void CheckRoundTrip(std::string_view text) {
  Message message;
  if (!ParseYamlInto(text, "fuzz", &message).ok()) return;
  const std::string yaml = MessageToYaml(message);
  Message again;
  const absl::Status status = ParseYamlInto(yaml, "again", &again);
  CHECK(status.ok()) << status << "\n" << yaml;
  CHECK(again.SerializeAsString() == message.SerializeAsString()) << yaml;
}

void FuzzOne(std::string_view text) {
  CheckRoundTrip<v1::Task>(text);
  CheckRoundTrip<v1::DeviceConfig>(text);
  CheckRoundTrip<v1::PackageManifest>(text);
  v1::CoordinatorConfig config;
  if (ParseYamlInto(text, "fuzz", &config).ok()) {
    (void)ValidateCoordinatorConfig(&config);
  }
  v1::RegistrarConfig registrar;
  if (ParseYamlInto(text, "fuzz", &registrar).ok()) {
    (void)ValidateRegistrarConfig(&registrar);
  }
  v1::DeviceConfig device;
  if (ParseYamlInto(text, "fuzz", &device).ok()) {
    (void)ValidateDeviceConfig(&device);
  }
  v1::Task task;
  (void)SetField(&task, text);
  const absl::StatusOr<v1::Task> parsed = ParseTask(text, "fuzz");
  if (!parsed.ok()) return;
  const absl::StatusOr<v1::Task> again =
      ParseTask(TaskToYaml(*parsed), "again");
  CHECK(again.ok()) << again.status();
  CHECK(again->SerializeAsString() == parsed->SerializeAsString());
}

}  // namespace
}  // namespace mledge

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mledge::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
