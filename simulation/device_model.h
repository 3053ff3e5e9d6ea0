#ifndef MLEDGE_SIMULATION_DEVICE_MODEL_H_
#define MLEDGE_SIMULATION_DEVICE_MODEL_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/time/time.h"
#include "mledge/client/local_trainer.h"
#include "mledge/v1/device_service.pb.h"
#include "mledge/v1/task.pb.h"

// How fast and how reliable each simulated device is. Everything is a pure
// function of the task's seed and the device's id, so that devices cost nothing
// until they act. A value; const access from several threads is safe.

namespace mledge {

struct DeviceSpeed {
  double seconds_per_example = 0;
  double download_bytes_per_second = 0;
  double upload_bytes_per_second = 0;

  absl::Duration DownloadTime(uint64_t bytes) const;
  absl::Duration UploadTime(uint64_t bytes) const;
  // Of a device that holds `examples`. Evaluating counts as one pass.
  absl::Duration TrainingTime(const TrainingPlan& plan, int64_t examples) const;
};

class FleetModel {
 public:
  // `model` has its defaults written out (ValidateTask).
  FleetModel(const v1::DeviceModel& model, uint64_t seed)
      : model_(model), seed_(seed) {}

  // The medians, each times its own log-normal factor of the device.
  DeviceSpeed SpeedOf(std::string_view device) const;
  // Whether the device vanishes during this assignment, and if so after which
  // part of the training, in [0, 1).
  std::optional<double> VanishesAt(std::string_view device,
                                   int64_t ordinal) const;
  // Before which of the `steps` of a session of secure aggregation, from 0, it
  // vanishes with what it has for this assignment; if it does.
  std::optional<int> VanishesBeforeStep(std::string_view device,
                                        const v1::Assignment& assignment,
                                        int steps) const;

 private:
  v1::DeviceModel model_;
  uint64_t seed_;
};

}  // namespace mledge

#endif  // MLEDGE_SIMULATION_DEVICE_MODEL_H_
