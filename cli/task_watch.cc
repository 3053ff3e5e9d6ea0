#include <unistd.h>

#include <iostream>
#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/cli/operator_connection.h"
#include "mledge/cli/task_progress.h"
#include "mledge/cli/task_verbs.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr int kExitFailed = 3;
constexpr int kExitCancelled = 4;

struct WatchOptions {
  OperatorConnection connection;
  std::string task;
  bool table = false;
};

absl::StatusOr<int> Watch(const WatchOptions& options) {
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<AdminClient> client,
                          Connect(options.connection));
  MLEDGE_ASSIGN_OR_RETURN(const v1::GetTaskResponse task,
                          client->GetTask(options.task));
  TaskProgress progress({.is_terminal = isatty(STDOUT_FILENO) == 1,
                         .rounds = task.summary().rounds()},
                        &std::cout);
  MLEDGE_RETURN_IF_ERROR(client->WatchTask(
      options.task,
      [&progress](const v1::TaskEvent& event) { progress.Add(event); },
      [&progress](const absl::Status& status) {
        progress.Say(StrCat("waiting: ", status.message()));
      }));
  if (options.table) progress.PrintTable();
  switch (progress.end_state()) {
    case v1::COMPLETED:
      return 0;
    case v1::CANCELLED:
      return kExitCancelled;
    default:
      return kExitFailed;
  }
}

}  // namespace

void RegisterTaskWatch(CLI::App* task, ChosenVerb& chosen) {
  CLI::App* watch = task->add_subcommand(
      "watch",
      "Follows a task until it ends. Exit status 0: completed, 3: failed, "
      "4: cancelled");
  auto options = std::make_shared<WatchOptions>();
  watch->add_option("TASK", options->task, "Task")->required();
  AddConnectionOptions(watch, &options->connection);
  watch->add_flag("--table", options->table,
                  "End with a table of the rounds: accuracy, bytes, seconds");
  chosen.OnWithExitStatus(watch, [options] { return Watch(*options); });
}

}  // namespace mledge
