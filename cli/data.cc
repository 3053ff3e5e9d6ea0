#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "mledge/cli/verbs.h"
#include "mledge/client/example_sources.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/simulation/partition_files.h"
#include "mledge/simulation/partitioner.h"
#include "mledge/task/task_file.h"

namespace mledge {
namespace {

constexpr size_t kRowsShown = 30;

struct PartitionOptions {
  std::string task_file;
  std::vector<std::string> overrides;
  std::string images;
  std::string labels;
  std::string kind = "iid";
  int64_t devices = 10;
  int64_t per_device = 2;
  double alpha = 0.5;
  int64_t minimum_examples = 1;
  uint64_t seed = 1;
  std::string out;
};

// What the options say where there is no task.
v1::Simulation FromOptions(const PartitionOptions& options) {
  v1::Simulation simulation;
  simulation.set_devices(options.devices);
  v1::IdxData* idx = simulation.mutable_training_data()->mutable_idx();
  idx->set_images(options.images);
  idx->set_labels(options.labels);
  v1::Partition* partition = simulation.mutable_partition();
  if (options.kind == "shards") {
    partition->mutable_shards()->set_shards_per_device(options.per_device);
  } else if (options.kind == "labels") {
    partition->mutable_labels()->set_labels_per_device(options.per_device);
  } else if (options.kind == "dirichlet") {
    partition->mutable_dirichlet()->set_alpha(options.alpha);
    partition->mutable_dirichlet()->set_minimum_examples(
        options.minimum_examples);
  } else {
    partition->mutable_iid();
  }
  return simulation;
}

absl::Status DividePartition(const PartitionOptions& options) {
  v1::Simulation simulation;
  uint64_t seed = options.seed;
  if (!options.task_file.empty()) {
    MLEDGE_ASSIGN_OR_RETURN(const v1::Task task,
                            LoadTaskFile(options.task_file, options.overrides));
    simulation = task.simulation();
    seed = task.seed();
  } else if (options.images.empty() || options.labels.empty()) {
    return absl::InvalidArgumentError(
        "name a task file, or --images and --labels");
  } else {
    simulation = FromOptions(options);
  }
  MLEDGE_ASSIGN_OR_RETURN(const std::shared_ptr<const ExampleStore> store,
                          OpenExamples(simulation.training_data(), ""));
  MLEDGE_ASSIGN_OR_RETURN(const Partition partition,
                          PartitionExamples(simulation, seed, *store));
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<int64_t> labels,
                          ClassLabels(*store));
  MLEDGE_ASSIGN_OR_RETURN(const PartitionSummary summary,
                          WritePartition(options.out, partition,
                                         simulation.partition(), seed, labels));
  std::cout << FormatSummary(summary, kRowsShown) << "Index files of "
            << summary.devices.size() << " devices and partition.json are in "
            << options.out << std::endl;
  return absl::OkStatus();
}

}  // namespace

void RegisterData(CLI::App& app, ChosenVerb& chosen) {
  CLI::App* data = app.add_subcommand("data", "Looks after data sets");
  data->require_subcommand(1);
  auto options = std::make_shared<PartitionOptions>();
  CLI::App* verb = data->add_subcommand(
      "partition",
      "Divides a data set among devices and writes one index file each, as "
      "`simulate` would");
  CLI::Option* task =
      verb->add_option("TASK", options->task_file,
                       "A task file whose simulation section says how");
  verb->add_option("--set", options->overrides,
                   "FIELD=VALUE instead of what the task says")
      ->expected(1)
      ->take_all()
      ->needs(task);
  // Without a task:
  for (CLI::Option* option :
       {verb->add_option("--images", options->images, "IDX file"),
        verb->add_option("--labels", options->labels, "IDX file"),
        verb->add_option("--devices", options->devices, "How many")
            ->check(CLI::Range(int64_t{1}, int64_t{100'000'000})),
        verb->add_option("--kind", options->kind,
                         "iid, shards, labels or dirichlet")
            ->check(CLI::IsMember({"iid", "shards", "labels", "dirichlet"})),
        verb->add_option("--per-device", options->per_device,
                         "Shards or labels a device"),
        verb->add_option("--alpha", options->alpha,
                         "Concentration of the Dirichlet"),
        verb->add_option("--minimum-examples", options->minimum_examples,
                         "Least examples a device, for the Dirichlet"),
        verb->add_option("--seed", options->seed, "Of the draw")}) {
    option->excludes(task);
  }
  verb->add_option("--out", options->out, "Folder for the index files")
      ->required();
  chosen.On(verb, [options] { return DividePartition(*options); });
}

}  // namespace mledge
