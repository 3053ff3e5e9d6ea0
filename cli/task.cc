#include <iostream>
#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "mledge/cli/operator_connection.h"
#include "mledge/cli/task_verbs.h"
#include "mledge/cli/verbs.h"
#include "mledge/coordinator/task_state_name.h"
#include "mledge/core/sha256.h"
#include "mledge/core/status_macros.h"
#include "mledge/task/task_file.h"

namespace mledge {
namespace {

struct TaskOptions {
  OperatorConnection connection;
  std::string task;
};

std::string Time(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S",
                          absl::FromUnixSeconds(time.seconds()),
                          absl::LocalTimeZone());
}

// What is spent against an observer, and what is left.
std::string Spent(const v1::GetPrivacyLedgerResponse::Account& account) {
  std::string text =
      absl::StrFormat("epsilon %.4g spent", account.spent().epsilon());
  if (account.has_left()) {
    text += absl::StrFormat(", %.4g left until privacy.epsilon_limit",
                            account.left());
  }
  return text + absl::StrFormat(
                    ",\n#   %.4g when all rounds are done, against %s (delta "
                    "%g)\n",
                    account.schedule().epsilon(),
                    account.spent().observer() == v1::OBSERVER_COORDINATOR
                        ? "the coordinator"
                        : "model recipients",
                    account.spent().delta());
}

absl::Status List(const OperatorConnection& connection) {
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<AdminClient> client,
                          Connect(connection));
  MLEDGE_ASSIGN_OR_RETURN(const v1::ListTasksResponse tasks,
                          client->ListTasks());
  std::cout << absl::StreamFormat("%-32s %-10s %11s %8s %10s  %s\n", "TASK",
                                  "STATE", "ROUND", "VERSION", "METRIC",
                                  "SUBMITTED");
  for (const v1::TaskSummary& task : tasks.tasks()) {
    std::cout << absl::StreamFormat(
        "%-32s %-10s %5d/%-5d %8d %10s  %s by %s\n", task.task_id(),
        TaskStateName(task.state()), task.round(), task.rounds(),
        task.version(),
        task.has_metric() ? absl::StrFormat("%.4f", task.metric()) : "-",
        Time(task.submitted_at()), task.submitted_by());
    if (task.state() == v1::SET_ASIDE) {
      std::cout << "    " << task.reason() << "\n";
    }
  }
  return absl::OkStatus();
}

absl::Status Show(const TaskOptions& options) {
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<AdminClient> client,
                          Connect(options.connection));
  MLEDGE_ASSIGN_OR_RETURN(const v1::GetTaskResponse task,
                          client->GetTask(options.task));
  const v1::TaskSummary& summary = task.summary();
  std::cout << "# Task as its operator signed it.\n"
            << TaskToYaml(task.task())
            << "\n# State: " << TaskStateName(summary.state());
  if (!summary.reason().empty()) std::cout << " (" << summary.reason() << ")";
  std::cout << absl::StreamFormat(
      "\n# Round %d of %d; submitted %s by %s; %d bytes received, %d sent\n",
      summary.round(), summary.rounds(), Time(summary.submitted_at()),
      summary.submitted_by(), summary.bytes_received(), summary.bytes_sent());
  if (summary.skipped_evaluations() > 0) {
    std::cout << "# " << summary.skipped_evaluations()
              << " versions were not evaluated: too few answered in time\n";
  }
  if (task.task().secure_aggregation().mode() == v1::SecureAggregation::OFF) {
    std::cout
        << "# Secure aggregation: off. The coordinator, and whoever reads "
           "its disk, can see\n#   each device's update in the clear.\n";
  } else {
    std::cout << "# Secure aggregation: on. The coordinator sees sums of "
                 "updates, no device's update.\n";
  }
  if (task.task().privacy().mechanism() > v1::Privacy::NONE) {
    MLEDGE_ASSIGN_OR_RETURN(const v1::GetPrivacyLedgerResponse ledger,
                            client->GetPrivacyLedger(options.task));
    for (const auto& account : ledger.accounts()) {
      std::cout
          << "# Privacy: " << ledger.mechanism() << " noise; " << Spent(account)
          << "#   `mledge privacy ledger` says under which assumptions.\n";
    }
  } else {
    std::cout << "# Differential privacy: none is claimed.\n";
  }
  if (!summary.hindrance().empty()) {
    std::cout << "# Attention: " << summary.hindrance() << "\n";
  }
  for (const v1::TaskEvent& event : task.device_failures()) {
    std::cout << absl::StreamFormat("# Failed: device %s in round %d, %s: %s\n",
                                    event.device_failed().device_id(),
                                    event.round(), Time(event.time()),
                                    event.device_failed().reason());
  }
  if (summary.has_metric()) {
    std::cout << absl::StreamFormat("# Newest evaluation: loss %.4f, %s %.4f\n",
                                    summary.loss(), summary.metric_name(),
                                    summary.metric());
  }
  std::cout << "# Versions of the model:\n";
  for (const v1::ModelVersion& version : task.versions()) {
    const absl::StatusOr<Digest> sha256 =
        Digest::FromBytes(version.parameters().sha256());
    std::cout << absl::StreamFormat("#   %4d  round %4d  %s  parameters %s\n",
                                    version.version(), version.round(),
                                    Time(version.published_at()),
                                    sha256.ok() ? sha256->ToHex() : "?");
  }
  return absl::OkStatus();
}

absl::Status Cancel(const TaskOptions& options) {
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<AdminClient> client,
                          Connect(options.connection));
  MLEDGE_RETURN_IF_ERROR(client->CancelTask(options.task));
  std::cout << "cancelled " << options.task << std::endl;
  return absl::OkStatus();
}

}  // namespace

void RegisterTask(CLI::App& app, ChosenVerb& chosen) {
  CLI::App* task = app.add_subcommand(
      "task", "Submits tasks to a coordinator and follows them");
  task->require_subcommand(1);
  RegisterTaskSubmit(task, chosen);

  CLI::App* list = task->add_subcommand("list", "All tasks of a coordinator");
  auto connection = std::make_shared<OperatorConnection>();
  AddConnectionOptions(list, connection.get());
  chosen.On(list, [connection] { return List(*connection); });

  CLI::App* show = task->add_subcommand(
      "show", "A task as it was signed, its state and its model's versions");
  auto show_options = std::make_shared<TaskOptions>();
  show->add_option("TASK", show_options->task, "Task")->required();
  AddConnectionOptions(show, &show_options->connection);
  chosen.On(show, [show_options] { return Show(*show_options); });

  RegisterTaskWatch(task, chosen);

  CLI::App* cancel = task->add_subcommand("cancel", "Ends a running task");
  auto cancel_options = std::make_shared<TaskOptions>();
  cancel->add_option("TASK", cancel_options->task, "Task")->required();
  AddConnectionOptions(cancel, &cancel_options->connection);
  chosen.On(cancel, [cancel_options] { return Cancel(*cancel_options); });

  RegisterTaskResult(task, chosen);
}

}  // namespace mledge
