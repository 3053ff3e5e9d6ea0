#include "mledge/client/update_pipeline.h"

#include <cmath>
#include <optional>
#include <span>
#include <utility>

#include "mledge/aggregation/fixed_point.h"
#include "mledge/core/parameters.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/clipping.h"

namespace mledge {
namespace {

absl::Status CheckFinite(Update* update) {
  for (const UpdateSection& section : update->sections) {
    if (const std::optional<size_t> position =
            FindNonFinite(section.values.span())) {
      return absl::InvalidArgumentError(
          StrCat("value ", *position, " of section '", section.name, "' is ",
                 section.values.span()[*position],
                 "; training diverged: lower the task's learning rate"));
    }
  }
  for (const UpdateScalar& scalar : update->scalars) {
    if (!std::isfinite(scalar.value)) {
      return absl::InvalidArgumentError(
          StrCat("scalar '", scalar.name, "' is ", scalar.value));
    }
  }
  if (update->weight <= 0) {
    return absl::InvalidArgumentError(
        StrCat("weight is ", update->weight, ", not positive"));
  }
  return absl::OkStatus();
}

absl::Status Clip(Update* update, double clip_norm) {
  std::vector<std::span<float>> spans;
  for (UpdateSection& section : update->sections) {
    spans.push_back(section.values.span());
  }
  if (spans.empty()) return absl::OkStatus();  // an evaluation
  return ClipL2(spans, clip_norm).status();
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
  float_stages_.push_back({"check-finite", CheckFinite});
  if (options.clip_norm > 0) {
    float_stages_.push_back({"clip", [options](Update* update) {
                               return Clip(update, options.clip_norm);
                             }});
  }
  if (options.uniform_weight) {
    float_stages_.push_back({"weigh", [](Update* update) {
                               update->weight = 1;
                               return absl::OkStatus();
                             }});
  }
  float_stages_.push_back({"check-bounds", [options](Update* update) {
                             return CheckBounds(*update, options.value_bound,
                                                options.weight_bound);
                           }});
}

absl::StatusOr<Update> UpdatePipeline::Run(Update update) const {
  for (const Stage& stage : float_stages_) {
    MLEDGE_RETURN_IF_ERROR(Annotate(stage.run(&update), stage.name));
  }
  return update;
}

std::vector<std::string_view> UpdatePipeline::StageNames() const {
  std::vector<std::string_view> names;
  for (const Stage& stage : float_stages_) names.push_back(stage.name);
  return names;
}

}  // namespace mledge
