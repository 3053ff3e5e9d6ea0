#ifndef MLEDGE_TASK_CONFIG_FILE_H_
#define MLEDGE_TASK_CONFIG_FILE_H_

#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "mledge/v1/config.pb.h"

// Configuration files of the programs, parsed as strictly as tasks and
// validated, with every default written out. Relative paths are resolved
// against the file's folder, "~/" against HOME. `overrides` ("FIELD=VALUE")
// come before the defaults; paths in them are seen from the file's folder too.
// INVALID_ARGUMENT: anything wrong with the contents; else the codes of
// ReadFile. Thread-safe.

namespace mledge {

absl::StatusOr<v1::DeviceConfig> LoadDeviceConfig(
    const std::string& path, std::span<const std::string> overrides = {});

absl::StatusOr<v1::CoordinatorConfig> LoadCoordinatorConfig(
    const std::string& path, std::span<const std::string> overrides = {});

absl::StatusOr<v1::RegistrarConfig> LoadRegistrarConfig(
    const std::string& path, std::span<const std::string> overrides = {});

// Makes the process's log what a validated configuration says. Once, before
// threads start.
void StartLogging(const v1::LogConfig& config, std::string_view component);

}  // namespace mledge

#endif  // MLEDGE_TASK_CONFIG_FILE_H_
