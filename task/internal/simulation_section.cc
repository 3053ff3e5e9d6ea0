#include <cstdint>
#include <string>

#include "mledge/core/strings.h"
#include "mledge/task/internal/data_source.h"
#include "mledge/task/internal/task_sections.h"

namespace mledge::task_internal {
namespace {

constexpr int64_t kMostSimulatedDevices = 10'000'000;

void ValidatePartition(v1::Simulation* simulation, Problems* problems) {
  const std::string path = "simulation.partition";
  v1::Partition* partition = simulation->mutable_partition();
  switch (partition->kind_case()) {
    case v1::Partition::kIid:
      return;
    case v1::Partition::kShards: {
      v1::Shards* shards = partition->mutable_shards();
      if (shards->shards_per_device() == 0) shards->set_shards_per_device(2);
      problems->RequirePositive(path + ".shards.shards_per_device",
                                shards->shards_per_device(), "2");
      return;
    }
    case v1::Partition::kLabels:
      problems->RequirePositive(path + ".labels.labels_per_device",
                                partition->labels().labels_per_device(), "2");
      return;
    case v1::Partition::kDirichlet: {
      v1::Dirichlet* dirichlet = partition->mutable_dirichlet();
      problems->RequirePositive(path + ".dirichlet.alpha", dirichlet->alpha(),
                                "0.5");
      if (dirichlet->minimum_examples() == 0) {
        dirichlet->set_minimum_examples(1);
      }
      problems->RequirePositive(path + ".dirichlet.minimum_examples",
                                dirichlet->minimum_examples(), "10");
      return;
    }
    case v1::Partition::kByColumn:
      problems->Require(!partition->by_column().column().empty(),
                        path + ".by_column.column",
                        "is missing; name the column that tells devices apart");
      problems->Require(simulation->training_data().has_csv(),
                        path + ".by_column",
                        "needs training data with columns (csv)");
      return;
    case v1::Partition::KIND_NOT_SET:
      problems->Add(path,
                    "is missing; write `iid: {}`, `shards: {}`, `labels: "
                    "{labels_per_device: 2}`, `dirichlet: {alpha: 0.5}` or "
                    "`by_column: {column: NAME}`");
  }
}

void ValidateDevices(const v1::Task& task, Problems* problems) {
  const v1::Simulation& simulation = task.simulation();
  if (simulation.partition().has_by_column()) {
    problems->Require(simulation.devices() == 0, "simulation.devices",
                      "follows from the column's values; leave it out");
    return;
  }
  if (!problems->Require(simulation.devices() >= 1 &&
                             simulation.devices() <= kMostSimulatedDevices,
                         "simulation.devices",
                         StrCat("is ", simulation.devices(),
                                "; write how many devices the fleet has (1 to ",
                                kMostSimulatedDevices, ")"))) {
    return;
  }
  problems->Require(
      task.cohort().minimum_waiting() <= simulation.devices(),
      "cohort.minimum_waiting",
      StrCat("is ", task.cohort().minimum_waiting(),
             " (size · over_selection unless given), but "
             "simulation.devices is ",
             simulation.devices(), "; ask for fewer or simulate more"));
}

void ValidateDeviceModel(v1::DeviceModel* model, Problems* problems) {
  const std::string path = "simulation.device_model";
  if (!model->has_seconds_per_example()) {
    model->set_seconds_per_example(0.001);
  }
  if (!model->has_download_bytes_per_second()) {
    model->set_download_bytes_per_second(5e6);
  }
  if (!model->has_upload_bytes_per_second()) {
    model->set_upload_bytes_per_second(1e6);
  }
  problems->RequireNotNegative(path + ".seconds_per_example",
                               model->seconds_per_example());
  problems->RequirePositive(path + ".download_bytes_per_second",
                            model->download_bytes_per_second(), "5e6");
  problems->RequirePositive(path + ".upload_bytes_per_second",
                            model->upload_bytes_per_second(), "1e6");
  problems->RequireNotNegative(path + ".spread", model->spread());
  problems->RequireFraction(path + ".dropout_probability",
                            model->dropout_probability());
  problems->RequireFraction(path + ".session_dropout_probability",
                            model->session_dropout_probability());
}

void ValidateNoiseCohort(const v1::Task& task, v1::Simulation* simulation,
                         Problems* problems) {
  if (task.privacy().mechanism() == v1::Privacy::NONE) {
    problems->Require(simulation->noise_cohort() == 0,
                      "simulation.noise_cohort",
                      "goes with a `privacy` section only; leave it out");
    return;
  }
  const int64_t size = task.cohort().size();
  if (simulation->noise_cohort() == 0) simulation->set_noise_cohort(size);
  problems->Require(
      simulation->noise_cohort() >= size &&
          simulation->noise_cohort() <= kMostSimulatedDevices,
      "simulation.noise_cohort",
      StrCat("is ", simulation->noise_cohort(),
             "; write the size of a round in the deployment, from "
             "cohort.size, which is ",
             size, ", to ", kMostSimulatedDevices));
}

}  // namespace

void ValidateSimulation(v1::Task* task, Problems* problems) {
  v1::Simulation* simulation = task->mutable_simulation();
  ValidateDataSource("simulation.training_data",
                     simulation->mutable_training_data(), problems);
  const bool needs_test_data =
      task->evaluation().every() > 0 &&
      task->evaluation().where() == v1::Evaluation::EVALUATORS;
  if (needs_test_data || simulation->has_test_data()) {
    ValidateDataSource("simulation.test_data", simulation->mutable_test_data(),
                       problems);
  }
  ValidatePartition(simulation, problems);
  ValidateDevices(*task, problems);
  ValidateDeviceModel(simulation->mutable_device_model(), problems);
  problems->Require(
      task->cohort().selection() != v1::Cohort::POISSON ||
          simulation->device_model().dropout_probability() == 0,
      "simulation.device_model.dropout_probability",
      "is not 0; a Poisson sample waits for everybody who was drawn, and "
      "devices that vanish would never deliver: leave it out");
  ValidateNoiseCohort(*task, simulation, problems);
  problems->Require(
      simulation->secure_aggregation() == v1::Simulation::PROTOCOL ||
          task->secure_aggregation().mode() != v1::SecureAggregation::OFF,
      "simulation.secure_aggregation",
      "says how secure aggregation is simulated, which is off; leave it out");
}

}  // namespace mledge::task_internal
