#include "mledge/simulation/device_model.h"

#include <algorithm>
#include <cmath>

#include "mledge/core/training_random.h"

namespace mledge {
namespace {

// Whole nanoseconds, so that times add up alike wherever they are added.
absl::Duration FromSeconds(double seconds) {
  constexpr double kLongest = 1e9;
  return absl::Nanoseconds(std::llround(std::min(seconds, kLongest) * 1e9));
}

}  // namespace

absl::Duration DeviceSpeed::DownloadTime(uint64_t bytes) const {
  return FromSeconds(static_cast<double>(bytes) / download_bytes_per_second);
}

absl::Duration DeviceSpeed::UploadTime(uint64_t bytes) const {
  return FromSeconds(static_cast<double>(bytes) / upload_bytes_per_second);
}

absl::Duration DeviceSpeed::TrainingTime(const TrainingPlan& plan,
                                         int64_t examples) const {
  if (plan.kind == TrainingPlan::Kind::kEvaluate) {
    return FromSeconds(seconds_per_example * static_cast<double>(examples));
  }
  const int64_t used =
      plan.max_examples > 0 ? std::min(plan.max_examples, examples) : examples;
  const int64_t batch =
      plan.batch_size > 0 ? std::min(plan.batch_size, used) : used;
  const double seen =
      plan.steps > 0
          ? static_cast<double>(plan.steps) * static_cast<double>(batch)
          : static_cast<double>(plan.epochs) * static_cast<double>(used);
  return FromSeconds(seconds_per_example * seen);
}

DeviceSpeed FleetModel::SpeedOf(std::string_view device) const {
  DeviceSpeed speed{
      .seconds_per_example = model_.seconds_per_example(),
      .download_bytes_per_second = model_.download_bytes_per_second(),
      .upload_bytes_per_second = model_.upload_bytes_per_second()};
  if (model_.spread() > 0) {
    TrainingRandom random(
        {.task_seed = seed_, .device = device, .purpose = "device-speed"});
    speed.seconds_per_example *= std::exp(model_.spread() * random.Normal());
    speed.download_bytes_per_second *=
        std::exp(model_.spread() * random.Normal());
    speed.upload_bytes_per_second *=
        std::exp(model_.spread() * random.Normal());
  }
  return speed;
}

std::optional<double> FleetModel::VanishesAt(std::string_view device,
                                             int64_t ordinal) const {
  if (model_.dropout_probability() <= 0) return std::nullopt;
  TrainingRandom random({.task_seed = seed_,
                         .device = device,
                         .ordinal = ordinal,
                         .purpose = "device-dropout"});
  if (random.UniformDouble() >= model_.dropout_probability()) {
    return std::nullopt;
  }
  return random.UniformDouble();
}

std::optional<int> FleetModel::VanishesBeforeStep(
    std::string_view device, const v1::Assignment& assignment,
    int steps) const {
  if (model_.session_dropout_probability() <= 0) return std::nullopt;
  // Evaluations do not move the ordinal, and there is one a round.
  const bool evaluation = assignment.kind() == v1::Assignment::EVALUATE;
  TrainingRandom random(
      {.task_seed = seed_,
       .device = device,
       .ordinal = evaluation ? assignment.round() : assignment.ordinal(),
       .purpose = evaluation ? "evaluation-dropout" : "session-dropout"});
  if (random.UniformDouble() >= model_.session_dropout_probability()) {
    return std::nullopt;
  }
  return static_cast<int>(random.UniformBelow(static_cast<uint64_t>(steps)));
}

}  // namespace mledge
