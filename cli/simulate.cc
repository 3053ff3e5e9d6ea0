#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "mledge/cli/task_model.h"
#include "mledge/cli/verbs.h"
#include "mledge/client/example_sources.h"
#include "mledge/client/torch/torch_trainer.h"
#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/model/torch/torch_runtime.h"
#include "mledge/simulation/console.h"
#include "mledge/simulation/run_directory.h"
#include "mledge/simulation/simulator.h"
#include "mledge/task/task_file.h"

namespace mledge {
namespace {

struct SimulateOptions {
  std::string task_file;
  std::vector<std::string> overrides;
  int workers = 0;
  bool wire = false;
  int64_t audit_canaries = 0;
  std::string out;
};

std::atomic<bool> interrupted{false};

// The first Ctrl-C ends the simulation with what is there, a second one the
// process.
void StopOnInterrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted.store(true); };
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

int TerminalWidth() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 40) {
    return 80;
  }
  return size.ws_col;
}

absl::Status JudgeAudit(const SimulationResult& result) {
  if (!result.audit.has_value() || !result.audit->contradicts_claim()) {
    return absl::OkStatus();
  }
  return absl::InternalError(StrCat(
      "the canary audit contradicts the privacy claim: epsilon is more than ",
      result.audit->epsilon_lower_bound, ", not at most ",
      result.audit->claim.epsilon(), ". By chance that happens in ",
      100 * (1 - result.audit->confidence),
      " % of all runs at most: repeat it with other seeds (--seed); if it "
      "happens again, the noise or its accounting has a fault"));
}

absl::Status Simulate(const SimulateOptions& options) {
  RunDescription description;
  description.task_file = options.task_file;
  description.overrides = options.overrides;
  MLEDGE_ASSIGN_OR_RETURN(description.task_text, ReadFile(options.task_file));
  MLEDGE_ASSIGN_OR_RETURN(description.task,
                          LoadTaskFile(options.task_file, options.overrides));
  const v1::Task& task = description.task;

  std::unique_ptr<RunDirectory> directory;
  if (!options.out.empty()) {
    MLEDGE_ASSIGN_OR_RETURN(directory, RunDirectory::Create(options.out));
  }

  PrepareTrainingThread();
  Simulator::Options simulation;
  simulation.task = task;
  MLEDGE_ASSIGN_OR_RETURN(simulation.package, OpenTaskModel(task));
  const ModelPackage package = simulation.package;
  const OpenExamplesOptions expected{.classes =
                                         package.loss == Loss::kCrossEntropy
                                             ? package.output.element_count()
                                             : 0};
  MLEDGE_ASSIGN_OR_RETURN(
      simulation.training_data,
      OpenExamples(task.simulation().training_data(), "", expected));
  if (task.simulation().has_test_data()) {
    MLEDGE_ASSIGN_OR_RETURN(
        simulation.test_data,
        OpenExamples(task.simulation().test_data(), "", expected));
  }
  simulation.workers = options.workers;
  simulation.wire = options.wire;
  simulation.audit_canaries = options.audit_canaries;
  simulation.on_worker_start = PrepareTrainingThread;
  StopOnInterrupt();
  simulation.stop = [] { return interrupted.load(); };

  const std::string metric(MetricName(package.metric));
  SimulationConsole console({.terminal = isatty(STDERR_FILENO) != 0,
                             .metric_name = metric,
                             .rounds = task.stop().rounds(),
                             .width = TerminalWidth()},
                            &std::cerr);
  absl::Status written = absl::OkStatus();
  simulation.on_round = [&](const RoundMetrics& round) {
    console.ShowRound(round, absl::Now());
    if (directory != nullptr && written.ok()) {
      written = directory->Add(round, metric);
    }
  };
  simulation.on_progress = [&](const SimulationProgress& progress) {
    console.ShowProgress(progress, absl::Now());
  };
  simulation.on_warning = [&](const std::string& text) {
    console.ShowWarning(text);
  };

  const std::unique_ptr<TrainerFactory> factory = CreateTorchTrainerFactory();
  MLEDGE_ASSIGN_OR_RETURN(
      const std::unique_ptr<Simulator> simulator,
      Simulator::Create(std::move(simulation), factory.get()));
  std::cerr << task.name() << ": model " << package.name << " with "
            << package.layout->size() << " parameters, "
            << simulator->partition().devices() << " devices, "
            << task.cohort().size() << " a round, " << simulator->workers()
            << " workers" << std::endl;
  MLEDGE_ASSIGN_OR_RETURN(const SimulationResult result, simulator->Run());
  console.ShowResult(result);
  MLEDGE_RETURN_IF_ERROR(written);
  if (directory == nullptr) return JudgeAudit(result);
  description.training_library = factory->Description();
  description.cpu_kind = CpuKind();
  description.workers = simulator->workers();
  description.wire = options.wire;
  MLEDGE_RETURN_IF_ERROR(directory->Finish(description, package, result));
  std::cerr << "Metrics, manifest and model are in " << directory->path()
            << std::endl;
  return JudgeAudit(result);
}

}  // namespace

void RegisterSimulate(CLI::App& app, ChosenVerb& chosen) {
  auto options = std::make_shared<SimulateOptions>();
  auto sets = std::make_shared<std::vector<std::string>>();
  auto seed = std::make_shared<std::string>();
  auto rounds = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand(
      "simulate", "Runs a task on a simulated fleet, on this machine");
  verb->add_option("TASK", options->task_file, "The task file")->required();
  verb->add_option("--seed", *seed, "Instead of the task's seed");
  verb->add_option("--rounds", *rounds, "Instead of the task's stop.rounds");
  verb->add_option("--set", *sets,
                   "FIELD=VALUE instead of what the task says, for example "
                   "local_training.sgd.learning_rate=0.1")
      ->expected(1)
      ->take_all();
  verb->add_option("--workers", options->workers,
                   "Threads that train (default: one a core); the result is "
                   "the same")
      ->check(CLI::Range(1, 4096));
  verb->add_flag("--wire", options->wire,
                 "Sends every message through its real serialization; the "
                 "result is the same");
  verb->add_option("--audit-canaries", options->audit_canaries,
                   "Audits the task's privacy claim: so many of the devices "
                   "are canaries instead of training; prints a lower bound on "
                   "epsilon, and fails where it is above the claim")
      ->check(CLI::Range(int64_t{1}, int64_t{10'000'000}));
  verb->add_option("--out", options->out,
                   "Folder for metrics, manifest and model");
  chosen.On(verb, [options, sets, seed, rounds] {
    options->overrides = *sets;
    if (!seed->empty()) options->overrides.push_back(StrCat("seed=", *seed));
    if (!rounds->empty()) {
      options->overrides.push_back(StrCat("stop.rounds=", *rounds));
    }
    return Simulate(*options);
  });
}

}  // namespace mledge
