#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "mledge/core/strings.h"
#include "mledge/task/internal/task_sections.h"

namespace mledge::task_internal {
namespace {

constexpr int64_t kLargestPopulation = 10'000'000'000;
constexpr double kLargestNoise = 1e6;
constexpr double kLargestClipNorm = 1e30;  // float32 holds it
constexpr int64_t kMostBuffers = 8;
constexpr int64_t kDefaultBuffers = 4;
constexpr int64_t kDefaultBands = 32;

void ValidateLevel(v1::Privacy* privacy, Problems* problems) {
  switch (privacy->level_case()) {
    case v1::Privacy::kNoiseMultiplier:
      problems->Require(privacy->noise_multiplier() > 0 &&
                            privacy->noise_multiplier() <= kLargestNoise,
                        "privacy.noise_multiplier",
                        StrCat("is ", privacy->noise_multiplier(),
                               "; write a number greater than 0 and at most ",
                               kLargestNoise, ", such as 1"));
      break;
    case v1::Privacy::kTargetEpsilon:
      problems->RequirePositive("privacy.target_epsilon",
                                privacy->target_epsilon(), "2");
      if (!privacy->has_epsilon_limit()) {
        privacy->set_epsilon_limit(privacy->target_epsilon());
      }
      break;
    case v1::Privacy::LEVEL_NOT_SET:
      problems->Add("privacy",
                    "has a mechanism and no level; write `target_epsilon: 2` "
                    "or `noise_multiplier: 1`");
  }
  if (privacy->has_epsilon_limit()) {
    problems->RequirePositive("privacy.epsilon_limit", privacy->epsilon_limit(),
                              "8");
  }
}

void ValidateClaim(const v1::Task& task, v1::Privacy* privacy,
                   Problems* problems) {
  const int64_t population = privacy->population_size();
  const bool has_population = problems->Require(
      population >= 1 && population <= kLargestPopulation,
      "privacy.population_size",
      StrCat("is ", population,
             "; write how many devices may ever take part, such as 1000000"));
  problems->Require(
      !has_population ||
          (privacy->delta() > 0 &&
           privacy->delta() * static_cast<double>(population) < 1),
      "privacy.delta",
      StrCat("is ", privacy->delta(),
             "; write a number greater than 0 and below 1/population_size: a "
             "larger one would allow some device's data to be published"));
  if (privacy->separation() == 0) privacy->set_separation(1);
  const int64_t rounds = task.stop().rounds();
  const bool has_separation =
      problems->Require(privacy->separation() >= 1, "privacy.separation",
                        StrCat("is ", privacy->separation(),
                               "; write 1 (every round) or more rounds"));
  if (!has_separation || rounds < 1) return;
  const bool sampled = task.cohort().selection() == v1::Cohort::POISSON;
  problems->Require(
      !sampled || privacy->separation() == 1, "privacy.separation",
      StrCat("is ", privacy->separation(),
             "; with `selection: poisson` a device may be drawn in every "
             "round: leave it out"));
  const int64_t room = 1 + (rounds - 1) / privacy->separation();
  if (privacy->participations() == 0) privacy->set_participations(room);
  problems->Require(
      privacy->participations() >= 1 && privacy->participations() <= room,
      "privacy.participations",
      StrCat("is ", privacy->participations(), "; ", rounds, " rounds, ",
             privacy->separation(), " apart, leave room for 1 to ", room));
  problems->Require(
      !sampled || privacy->participations() == room, "privacy.participations",
      StrCat("is ", privacy->participations(),
             "; with `selection: poisson` no device is kept from being drawn "
             "again, and each round counts for everybody: leave it out"));
}

void ValidateAdaptiveClipping(const v1::Task& task, v1::Privacy* privacy,
                              Problems* problems) {
  if (!privacy->has_adaptive_clipping()) return;
  problems->Require(privacy->mechanism() == v1::Privacy::CENTRAL ||
                        privacy->mechanism() == v1::Privacy::CORRELATED,
                    "privacy.adaptive_clipping",
                    "goes with `mechanism: central` or `correlated`: a clip "
                    "norm that changes would change the size of every sum");
  v1::AdaptiveClipping* clipping = privacy->mutable_adaptive_clipping();
  if (!clipping->has_target_quantile()) clipping->set_target_quantile(0.5);
  problems->Require(
      clipping->target_quantile() > 0 && clipping->target_quantile() < 1,
      "privacy.adaptive_clipping.target_quantile",
      StrCat("is ", clipping->target_quantile(),
             "; write a share between 0 and 1, such as 0.5"));
  if (!clipping->has_learning_rate()) clipping->set_learning_rate(0.2);
  problems->Require(
      clipping->learning_rate() > 0 && clipping->learning_rate() <= 1,
      "privacy.adaptive_clipping.learning_rate",
      StrCat("is ", clipping->learning_rate(),
             "; write a number greater than 0 and at most 1, such as 0.2"));
  if (!clipping->has_count_noise()) {
    clipping->set_count_noise(static_cast<double>(task.cohort().size()) / 20);
  }
  problems->RequirePositive("privacy.adaptive_clipping.count_noise",
                            clipping->count_noise(), "5");
  if (!clipping->has_largest_change()) clipping->set_largest_change(64);
  problems->Require(
      clipping->largest_change() >= 1 && clipping->largest_change() <= 1e6,
      "privacy.adaptive_clipping.largest_change",
      StrCat("is ", clipping->largest_change(),
             "; write a factor from 1 to 1000000, such as 64"));
}

void ValidateLayerClipping(const v1::Privacy& privacy, Problems* problems) {
  if (privacy.layer_clip_norms().empty()) return;
  problems->Require(!privacy.has_adaptive_clipping(),
                    "privacy.layer_clip_norms",
                    "does not go with adaptive_clipping, which moves one clip "
                    "norm of the whole update; leave one of them out");
  for (int i = 0; i < privacy.layer_clip_norms_size(); ++i) {
    const v1::LayerClipNorm& layer = privacy.layer_clip_norms(i);
    const std::string field = StrCat("privacy.layer_clip_norms[", i, "]");
    problems->Require(!layer.layer().empty(), StrCat(field, ".layer"),
                      "is missing; write a parameter of the model or a module, "
                      "such as fc1");
    problems->Require(
        layer.clip_norm() > 0 && layer.clip_norm() <= kLargestClipNorm,
        StrCat(field, ".clip_norm"),
        StrCat("is ", layer.clip_norm(),
               "; write a number greater than 0 and at most ", kLargestClipNorm,
               ", such as 0.1"));
  }
}

void ValidateCorrelatedNoise(const v1::Task& task, v1::Privacy* privacy,
                             Problems* problems) {
  if (privacy->mechanism() != v1::Privacy::CORRELATED) {
    problems->Require(!privacy->has_correlated(), "privacy.correlated",
                      "goes with `mechanism: correlated` only; leave it out");
    return;
  }
  v1::CorrelatedNoise* noise = privacy->mutable_correlated();
  const bool banded = noise->kind() == v1::CorrelatedNoise::BANDED ||
                      noise->kind() == v1::CorrelatedNoise::SQUARE_ROOT;
  const int64_t rounds = task.stop().rounds();
  if (banded) {
    if (noise->bands() == 0) {
      noise->set_bands(std::max<int64_t>(
          1, std::min({privacy->separation(), kDefaultBands, rounds})));
    }
    problems->Require(
        rounds < 1 || (noise->bands() >= 1 && noise->bands() <= rounds),
        "privacy.correlated.bands",
        StrCat("is ", noise->bands(), "; write 1 to stop.rounds, which is ",
               rounds));
  } else {
    problems->Require(noise->bands() == 0, "privacy.correlated.bands",
                      "goes with `kind: banded` or `square_root` only; leave "
                      "it out");
  }
  if (noise->kind() == v1::CorrelatedNoise::BLT) {
    if (noise->buffers() == 0) noise->set_buffers(kDefaultBuffers);
    problems->Require(
        noise->buffers() >= 1 && noise->buffers() <= kMostBuffers,
        "privacy.correlated.buffers",
        StrCat("is ", noise->buffers(), "; write 1 to ", kMostBuffers));
  } else {
    problems->Require(noise->buffers() == 0, "privacy.correlated.buffers",
                      "goes with `kind: blt` only; leave it out");
  }
  problems->Require(noise->kind() != v1::CorrelatedNoise::TREE ||
                        privacy->participations() <= 1,
                    "privacy.participations",
                    StrCat("is ", privacy->participations(),
                           "; a tree of noise is for devices that take part "
                           "once: write 1, or another correlated.kind"));
}

// What the mechanisms ask of the rest of the task.
void ValidateCompanions(v1::Task* task, Problems* problems) {
  const v1::Privacy& privacy = task->privacy();
  if (privacy.layer_clip_norms().empty()) {
    problems->Require(
        task->local_training().clip_norm() > 0, "local_training.clip_norm",
        "is missing; a private task bounds what one device can contribute: "
        "write the largest norm of an update, such as 0.5");
  } else {
    problems->Require(
        task->local_training().clip_norm() == 0, "local_training.clip_norm",
        "is of the whole update, and privacy.layer_clip_norms clips each layer "
        "by itself; leave one of them out");
  }
  problems->Require(
      task->aggregation().weighting() == v1::Aggregation::UNIFORM,
      "aggregation.weighting",
      "is examples; in a private task every device counts the same: write "
      "`weighting: uniform`");
  problems->Require(
      privacy.mechanism() != v1::Privacy::DISTRIBUTED ||
          task->secure_aggregation().mode() == v1::SecureAggregation::ON,
      "privacy.mechanism",
      "is distributed, and secure aggregation is off: the shares of the noise "
      "hide nothing but in a sum. Leave `secure_aggregation: {mode: off}` out, "
      "or write `mechanism: central`");
  problems->Require(
      task->evaluation().where() != v1::Evaluation::DEVICES, "evaluation.where",
      "is devices; what devices report of a private task would need noise of "
      "its own: write `where: evaluators`");
}

}  // namespace

void ValidatePrivacy(v1::Task* task, Problems* problems) {
  v1::Privacy* privacy = task->mutable_privacy();
  if (privacy->mechanism() == v1::Privacy::MECHANISM_UNSPECIFIED ||
      privacy->mechanism() == v1::Privacy::NONE) {
    const bool chosen = privacy->mechanism() == v1::Privacy::NONE;
    privacy->set_mechanism(v1::Privacy::NONE);
    v1::Privacy nothing_else;
    nothing_else.set_mechanism(v1::Privacy::NONE);
    problems->Require(
        privacy->SerializeAsString() == nothing_else.SerializeAsString(),
        "privacy.mechanism",
        StrCat(chosen ? "is none" : "is missing",
               ", and there are settings; write central, distributed, "
               "correlated or local, or leave the section out"));
    return;
  }
  ValidateLevel(privacy, problems);
  ValidateClaim(*task, privacy, problems);
  ValidateAdaptiveClipping(*task, privacy, problems);
  ValidateLayerClipping(*privacy, problems);
  if (privacy->mechanism() == v1::Privacy::DISTRIBUTED) {
    privacy->mutable_distributed();
  } else {
    problems->Require(!privacy->has_distributed(), "privacy.distributed",
                      "goes with `mechanism: distributed` only; leave it out");
  }
  ValidateCorrelatedNoise(*task, privacy, problems);
  ValidateCompanions(task, problems);
}

}  // namespace mledge::task_internal
