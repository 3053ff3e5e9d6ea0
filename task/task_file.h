#ifndef MLEDGE_TASK_TASK_FILE_H_
#define MLEDGE_TASK_TASK_FILE_H_

#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "mledge/v1/task.pb.h"

// Task files: from text to a validated v1::Task with every default written
// out. Thread-safe.

namespace mledge {

// Parses strictly (strict_message.h), applies `overrides` in order
// ("FIELD=VALUE", the `--set` of the workbench), then validates and fills in
// defaults (validation.h), so that a default that follows from another field
// follows from the overridden one. Paths in the task are left as they are
// written.
// INVALID_ARGUMENT: anything wrong with the text or the task.
absl::StatusOr<v1::Task> ParseTask(std::string_view text,
                                   std::string_view file_name,
                                   std::span<const std::string> overrides = {});

// ParseTask of the file's contents; then paths in the task (package and data
// files) that are relative are resolved against the file's folder, and a
// leading "~/" against HOME. They are of this machine: whoever submits the task
// elsewhere clears them first.
// Also the codes of ReadFile, with the path.
absl::StatusOr<v1::Task> LoadTaskFile(
    const std::string& path, std::span<const std::string> overrides = {});

// The task as a task file, which ParseTask reads back into an equal task.
std::string TaskToYaml(const v1::Task& task);

// `path` seen from the file `from`: absolute paths stay, "~/" is HOME, all
// others are relative to the folder of `from`. Empty stays empty.
std::string ResolvePath(std::string_view path, std::string_view from);

}  // namespace mledge

#endif  // MLEDGE_TASK_TASK_FILE_H_
