#include "mledge/client/update_pipeline.h"

#include <cmath>
#include <optional>
#include <span>
#include <utility>

#include "mledge/aggregation/fixed_point.h"
#include "mledge/client/private_stages.h"
#include "mledge/core/parameters.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/clipping.h"
#include "mledge/privacy/plan/private_task.h"

namespace mledge {
namespace {

absl::Status CheckFinite(const Update& update) {
  for (const UpdateSection& section : update.sections) {
    if (const std::optional<size_t> position =
            FindNonFinite(section.values.span())) {
      return absl::InvalidArgumentError(
          StrCat("value ", *position, " of section '", section.name, "' is ",
                 section.values.span()[*position],
                 "; training diverged: lower the task's learning rate"));
    }
  }
  for (const UpdateScalar& scalar : update.scalars) {
    if (!std::isfinite(scalar.value)) {
      return absl::InvalidArgumentError(
          StrCat("scalar '", scalar.name, "' is ", scalar.value));
    }
  }
  if (update.weight <= 0) {
    return absl::InvalidArgumentError(
        StrCat("weight is ", update.weight, ", not positive"));
  }
  return absl::OkStatus();
}

// Whether it was too long.
absl::StatusOr<bool> Clip(Update* update, double clip_norm) {
  std::vector<std::span<float>> spans;
  for (UpdateSection& section : update->sections) {
    spans.push_back(section.values.span());
  }
  if (spans.empty()) return false;  // an evaluation
  MLEDGE_ASSIGN_OR_RETURN(const ClipResult result, ClipL2(spans, clip_norm));
  return result.clipped;
}

absl::Status ClipLayers(Update* update,
                        const std::vector<ClippedLayer>& layers) {
  std::vector<std::vector<std::span<float>>> spans;
  std::vector<double> clip_norms;
  MLEDGE_ASSIGN_OR_RETURN(const std::span<float> values, PrivateValues(update));
  for (const ClippedLayer& layer : layers) {
    clip_norms.push_back(layer.clip_norm);
    std::vector<std::span<float>>& parts = spans.emplace_back();
    for (const ClippedLayer::Range& range : layer.ranges) {
      if (range.begin + range.size > static_cast<int64_t>(values.size())) {
        return absl::InvalidArgumentError(StrCat(
            "layer ", layer.name, " ends at value ", range.begin + range.size,
            " of an update of ", values.size()));
      }
      parts.push_back(values.subspan(static_cast<size_t>(range.begin),
                                     static_cast<size_t>(range.size)));
    }
  }
  return ClipL2PerLayer(spans, clip_norms).status();
}

absl::Status CheckBounds(const Update& update, double value_bound,
                         int64_t weight_bound) {
  if (weight_bound > 0 && update.weight > weight_bound) {
    return absl::OutOfRangeError(
        StrCat("weight ", update.weight, " is above the task's ", weight_bound,
               "; raise aggregation.weight_bound or set "
               "local_training.max_examples"));
  }
  if (value_bound <= 0) return absl::OkStatus();
  for (const UpdateSection& section : update.sections) {
    if (const std::optional<size_t> position =
            FindOutside(section.values.span(), value_bound)) {
      return absl::OutOfRangeError(
          StrCat("value ", *position, " of section '", section.name, "' is ",
                 section.values.span()[*position], ", beyond the task's bound ",
                 value_bound,
                 "; lower the learning rate, clip, or raise "
                 "aggregation.value_bound"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

UpdatePipeline::UpdatePipeline(const Options& options) {
  stages_.push_back(
      {"check-finite", [](Item& item) { return CheckFinite(item.update); }});
  if (options.privacy != nullptr && !options.privacy->layers.empty()) {
    stages_.push_back({"clip-layers", [task = options.privacy](Item& item) {
                         return ClipLayers(&item.update, task->layers);
                       }});
  } else if (options.clip_norm > 0) {
    stages_.push_back({"clip", [options](Item& item) -> absl::Status {
                         MLEDGE_ASSIGN_OR_RETURN(
                             item.clipped,
                             Clip(&item.update, options.clip_norm));
                         return absl::OkStatus();
                       }});
  }
  if (options.privacy != nullptr) AddPrivateStages(options);
  if (options.uniform_weight) {
    stages_.push_back({"weigh", [](Item& item) {
                         item.update.weight = 1;
                         return absl::OkStatus();
                       }});
  }
  stages_.push_back({"check-bounds", [options](Item& item) {
                       return CheckBounds(item.update, options.value_bound,
                                          options.weight_bound);
                     }});
}

void UpdatePipeline::AddPrivateStages(const Options& options) {
  stages_.push_back({"divide", [clip_norm = options.clip_norm](Item& item) {
                       return DivideByClipNorm(clip_norm, &item.update);
                     }});
  if (options.privacy->rotated) {
    stages_.push_back({"rotate", [task = options.privacy,
                                  seed = options.rotation_seed](Item& item) {
                         return RotateUpdate(*task, seed, &item.update);
                       }});
  }
  stages_.push_back({"round-and-noise", [task = options.privacy](Item& item) {
                       return RoundAndAddNoise(*task, *item.random,
                                               &item.update);
                     }});
  stages_.push_back({"hide-numbers", [task = options.privacy](Item& item) {
                       HideNumbers(*task, item.clipped, &item.update);
                       return absl::OkStatus();
                     }});
}

absl::StatusOr<Update> UpdatePipeline::Run(Update update,
                                           SecretRandom& random) const {
  Item item = {.update = std::move(update), .random = &random};
  for (const Stage& stage : stages_) {
    MLEDGE_RETURN_IF_ERROR(Annotate(stage.run(item), stage.name));
  }
  return std::move(item.update);
}

std::vector<std::string_view> UpdatePipeline::StageNames() const {
  std::vector<std::string_view> names;
  for (const Stage& stage : stages_) names.push_back(stage.name);
  return names;
}

}  // namespace mledge
