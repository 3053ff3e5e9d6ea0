#include "mledge/task/config_file.h"

#include <string_view>

#include "mledge/core/file.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/task/internal/data_source.h"
#include "mledge/task/strict_message.h"
#include "mledge/task/task_file.h"
#include "mledge/task/validation.h"

namespace mledge {
namespace {

void ResolveIdentity(std::string_view from, v1::IdentityFiles* identity) {
  identity->set_certificate(ResolvePath(identity->certificate(), from));
  identity->set_private_key(ResolvePath(identity->private_key(), from));
  identity->set_root(ResolvePath(identity->root(), from));
}

absl::Status ReadConfig(const std::string& path,
                        std::span<const std::string> overrides,
                        google::protobuf::Message* config) {
  MLEDGE_ASSIGN_OR_RETURN(const std::string text,
                          ReadFile(path, kMaximumTextSizeInBytes));
  MLEDGE_RETURN_IF_ERROR(ParseYamlInto(text, path, config));
  for (const std::string& assignment : overrides) {
    MLEDGE_RETURN_IF_ERROR(SetField(config, assignment));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::DeviceConfig> LoadDeviceConfig(
    const std::string& path, std::span<const std::string> overrides) {
  v1::DeviceConfig config;
  MLEDGE_RETURN_IF_ERROR(ReadConfig(path, overrides, &config));
  MLEDGE_RETURN_IF_ERROR(Annotate(ValidateDeviceConfig(&config), path));
  config.set_state_directory(ResolvePath(config.state_directory(), path));
  ResolveIdentity(path, config.mutable_identity());
  // Like the private key it belongs to the device and not to its state.
  config.set_state_key(
      config.state_key().empty()
          ? ResolvePath("state.key", config.identity().private_key())
          : ResolvePath(config.state_key(), path));
  task_internal::ResolveDataSource(path, config.mutable_data());
  return config;
}

absl::StatusOr<v1::CoordinatorConfig> LoadCoordinatorConfig(
    const std::string& path, std::span<const std::string> overrides) {
  v1::CoordinatorConfig config;
  MLEDGE_RETURN_IF_ERROR(ReadConfig(path, overrides, &config));
  MLEDGE_RETURN_IF_ERROR(Annotate(ValidateCoordinatorConfig(&config), path));
  config.set_state_directory(ResolvePath(config.state_directory(), path));
  ResolveIdentity(path, config.mutable_identity());
  return config;
}

absl::StatusOr<v1::RegistrarConfig> LoadRegistrarConfig(
    const std::string& path, std::span<const std::string> overrides) {
  v1::RegistrarConfig config;
  MLEDGE_RETURN_IF_ERROR(ReadConfig(path, overrides, &config));
  MLEDGE_RETURN_IF_ERROR(Annotate(ValidateRegistrarConfig(&config), path));
  config.set_state_directory(ResolvePath(config.state_directory(), path));
  v1::RegistrarKeys& keys = *config.mutable_keys();
  keys.set_certificate(ResolvePath(keys.certificate(), path));
  keys.set_private_key(ResolvePath(keys.private_key(), path));
  keys.set_witness_key(ResolvePath(keys.witness_key(), path));
  keys.set_root(ResolvePath(keys.root(), path));
  return config;
}

void StartLogging(const v1::LogConfig& config, std::string_view component) {
  LoggingOptions options;
  options.component = std::string(component);
  if (config.format() == v1::LogConfig::JSON) {
    options.format = LoggingOptions::Format::kJsonLines;
  }
  if (config.level() == "warning") {
    options.minimum_severity = LogSeverity::kWarning;
  } else if (config.level() == "error") {
    options.minimum_severity = LogSeverity::kError;
  }
  InitializeLogging(options);
}

}  // namespace mledge
