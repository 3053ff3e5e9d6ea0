#include "mledge/task/task_file.h"

#include <cstdlib>
#include <filesystem>

#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/task/internal/data_source.h"
#include "mledge/task/strict_message.h"
#include "mledge/task/validation.h"

namespace mledge {

absl::StatusOr<v1::Task> ParseTask(std::string_view text,
                                   std::string_view file_name,
                                   std::span<const std::string> overrides) {
  v1::Task task;
  MLEDGE_RETURN_IF_ERROR(ParseYamlInto(text, file_name, &task));
  for (const std::string& assignment : overrides) {
    MLEDGE_RETURN_IF_ERROR(SetField(&task, assignment));
  }
  MLEDGE_RETURN_IF_ERROR(Annotate(ValidateTask(&task), file_name));
  return task;
}

absl::StatusOr<v1::Task> LoadTaskFile(const std::string& path,
                                      std::span<const std::string> overrides) {
  MLEDGE_ASSIGN_OR_RETURN(const std::string text,
                          ReadFile(path, kMaximumTextSizeInBytes));
  MLEDGE_ASSIGN_OR_RETURN(v1::Task task, ParseTask(text, path, overrides));
  if (!task.model().package().empty()) {
    task.mutable_model()->set_package(
        ResolvePath(task.model().package(), path));
  }
  if (task.has_simulation()) {
    v1::Simulation* simulation = task.mutable_simulation();
    task_internal::ResolveDataSource(path, simulation->mutable_training_data());
    if (simulation->has_test_data()) {
      task_internal::ResolveDataSource(path, simulation->mutable_test_data());
    }
  }
  return task;
}

std::string TaskToYaml(const v1::Task& task) { return MessageToYaml(task); }

std::string ResolvePath(std::string_view path, std::string_view from) {
  if (path.empty()) return "";
  std::string expanded(path);
  if (path.starts_with("~/")) {
    if (const char* home = std::getenv("HOME"); home != nullptr) {
      expanded = StrCat(home, path.substr(1));
    }
  }
  const std::filesystem::path folder =
      std::filesystem::path(from).parent_path();
  return (folder / expanded).lexically_normal().string();
}

}  // namespace mledge
