#include "mledge/simulation/internal/canary_audit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "mledge/aggregation/secagg/hadamard.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/core/training_random.h"
#include "mledge/privacy/audit/one_run_audit.h"
#include "mledge/simulation/deterministic_secret_random.h"
#include "mledge/simulation/partitioner.h"

namespace mledge::simulation_internal {
namespace {

constexpr int64_t kFewestCanaries = 8;
constexpr int64_t kMostDirectionBits = int64_t{1} << 33;  // 1 GiB
// So that rounding to float32 makes no canary longer than the clip norm.
constexpr double kWithinClip = 1 - 0x1p-20;

absl::Status CheckTask(const v1::Task& task) {
  if (task.privacy().mechanism() <= v1::Privacy::NONE) {
    return absl::InvalidArgumentError(
        StrCat("a canary audit asks what a privacy claim is worth, and task ",
               task.name(),
               " claims nothing (privacy.mechanism is none): add a section "
               "`privacy`, or leave --audit-canaries out"));
  }
  const int64_t size = task.cohort().size();
  if (task.simulation().noise_cohort() != size) {
    return absl::InvalidArgumentError(
        StrCat("a canary audit needs the noise that hides one device of the "
               "simulated rounds, and simulation.noise_cohort is ",
               task.simulation().noise_cohort(),
               ": write --set simulation.noise_cohort=", size,
               ", which is cohort.size"));
  }
  if (task.aggregation().has_adam()) {
    return absl::InvalidArgumentError(
        "a canary audit reads the mean of a round off the model, which "
        "aggregation.adam hides; what the server's optimizer does with a noisy "
        "mean changes no claim, so audit with --set "
        "'aggregation={weighting: uniform}'");
  }
  return absl::OkStatus();
}

// How far a unit vector reaches in each trainable value that is as long in
// every layer as the layer's share of the clip norm, and the same within a
// layer.
std::vector<double> EvenDirection(const PrivateTask& task,
                                  int64_t trainable_size) {
  std::vector<double> direction(
      trainable_size, 1 / std::sqrt(static_cast<double>(trainable_size)));
  for (const ClippedLayer& layer : task.layers) {
    const auto for_each_value = [&](const auto& visit) {
      for (const ClippedLayer::Range& range : layer.ranges) {
        const int64_t end = std::min(range.begin + range.size, trainable_size);
        for (int64_t i = range.begin; i < end; ++i) visit(i);
      }
    };
    double values = 0;
    for_each_value([&](int64_t) { ++values; });
    for_each_value([&](int64_t i) {
      direction[i] = layer.clip_norm / task.clip_norm / std::sqrt(values);
    });
  }
  return direction;
}

// log(1 − q + q·e^x).
double LogMixture(double q, double x) {
  if (q >= 1) return x;
  return x > 0 ? x + std::log(q + (1 - q) * std::exp(-x))
               : std::log1p(q * std::expm1(x));
}

}  // namespace

CanaryAudit::CanaryAudit(const ModelPackage& package, PrivateTask task,
                         v1::PrivacyClaim claim, const v1::ServerSgd& server)
    : layout_(package.layout),
      task_(std::move(task)),
      claim_(std::move(claim)),
      direction_(EvenDirection(task_, layout_->trainable_size())),
      learning_rate_(server.has_learning_rate() ? server.learning_rate() : 1),
      momentum_(server.momentum()),
      clip_norm_(task_.clip_norm) {
  const auto values = package.initial_parameters.values().first(
      static_cast<size_t>(layout_->trainable_size()));
  parameters_.assign(values.begin(), values.end());
  step_.resize(parameters_.size());
}

absl::StatusOr<std::unique_ptr<CanaryAudit>> CanaryAudit::Create(
    const v1::Task& task, const ModelPackage& package, int64_t canaries,
    int64_t devices) {
  MLEDGE_RETURN_IF_ERROR(CheckTask(task));
  if (canaries < kFewestCanaries || canaries > devices) {
    return absl::InvalidArgumentError(
        StrCat("a canary audit with ", canaries, " canaries in a fleet of ",
               devices, " devices: ask for ", kFewestCanaries, " to ", devices,
               "; a few hundred make a bound that says something"));
  }
  const int64_t size = package.layout->trainable_size();
  if (canaries > kMostDirectionBits / std::max<int64_t>(1, size)) {
    return absl::InvalidArgumentError(
        StrCat("the directions of ", canaries, " canaries in ", size,
               " parameters take more than 1 GiB: ask for at most ",
               kMostDirectionBits / size));
  }
  const int64_t shared_size = package.layout->shared_size();
  MLEDGE_ASSIGN_OR_RETURN(const int64_t rotated_size,
                          secagg::HadamardRotation::PaddedSize(shared_size));
  MLEDGE_ASSIGN_OR_RETURN(
      PrivateTask resolved,
      ResolvePrivateTask(task, *package.layout,
                         {.rotated_size = rotated_size,
                          .noise_cohort = task.cohort().size()}));
  MLEDGE_ASSIGN_OR_RETURN(v1::PrivacyClaim claim,
                          ClaimOf(resolved, Observer::kModelRecipients,
                                  resolved.limits.participations));
  std::unique_ptr<CanaryAudit> audit(
      new CanaryAudit(package, std::move(resolved), std::move(claim),
                      task.aggregation().sgd()));
  audit->first_ = devices - canaries;
  DeterministicSecretRandom coins(task.seed(), "canaries", 0, "canary-coins");
  for (int64_t i = 0; i < canaries; ++i) {
    Canary& canary = audit->canaries_.emplace_back();
    std::array<uint8_t, 1> coin;
    coins.Fill(coin);
    canary.in = (coin[0] & 1) != 0;
    const std::string id = SimulatedDeviceId(audit->first_ + i, devices);
    TrainingRandom direction({.task_seed = task.seed(),
                              .device = id,
                              .purpose = "canary-direction"});
    canary.signs.resize((size + 31) / 32);
    for (uint32_t& word : canary.signs) word = direction.NextU32();
  }
  return audit;
}

void CanaryAudit::Trains(int64_t device, int64_t round, double clip_norm) {
  clip_norm_ = clip_norm;
  if (IsCanary(device)) {
    taking_part_[round].push_back(static_cast<size_t>(device - first_));
  }
}

Update CanaryAudit::UpdateOf(int64_t device, double clip_norm) const {
  const Canary& canary = canaries_[device - first_];
  Update update;
  update.weight = 1;
  UpdateSection& section = update.sections.emplace_back();
  section.name = std::string(kDeltaSection);
  section.values = AlignedFloats(static_cast<size_t>(layout_->shared_size()));
  if (canary.in) {
    const std::span<float> values = section.values.span();
    for (size_t i = 0; i < direction_.size(); ++i) {
      const auto length =
          static_cast<float>(clip_norm * kWithinClip * direction_[i]);
      values[i] = Up(canary, i) ? length : -length;
    }
  }
  for (const std::string_view name :
       {kExamplesScalar, kLossSumScalar, kMetricSumScalar}) {
    update.scalars.push_back({std::string(name), 0});
  }
  return update;
}

double CanaryAudit::Project(const Canary& canary,
                            std::span<const double> mean) const {
  double sum = 0;
  for (size_t i = 0; i < mean.size(); ++i) {
    const double part = direction_[i] * mean[i];
    sum += Up(canary, i) ? part : -part;
  }
  return sum;
}

void CanaryAudit::Released(int64_t round, std::span<const float> parameters) {
  // From the model's step back to the noisy mean.
  std::vector<double> mean(parameters_.size());
  double squares = 0;
  for (size_t i = 0; i < mean.size(); ++i) {
    const double step = parameters[i] - parameters_[i];
    mean[i] = (step - momentum_ * step_[i]) / learning_rate_;
    squares += direction_[i] * direction_[i] * mean[i] * mean[i];
    step_[i] = step;
    parameters_[i] = parameters[i];
  }
  // In clip norms of one device on the sum. In a random direction the mean, be
  // it noise or what others sent, has this variance.
  const double unit = static_cast<double>(task_.divisor) / clip_norm_;
  const double variance = squares * unit * unit;
  const auto score = [&](Canary& canary, double probability) {
    if (variance == 0) return;
    const double moved = Project(canary, mean) * unit;
    canary.score += LogMixture(probability, (moved - 0.5) / variance);
  };
  for (const size_t i : taking_part_[round]) {
    ++canaries_[i].rounds;
    if (!task_.sampling_probability.has_value()) score(canaries_[i], 1);
  }
  taking_part_.erase(taking_part_.begin(), taking_part_.upper_bound(round));
  if (!task_.sampling_probability.has_value()) return;
  for (Canary& canary : canaries_) score(canary, *task_.sampling_probability);
}

absl::StatusOr<CanaryAuditReport> CanaryAudit::Report() const {
  CanaryAuditReport report;
  report.canaries = static_cast<int64_t>(canaries_.size());
  report.confidence = kConfidence;
  report.claim = claim_;
  std::vector<double> scores;
  std::vector<bool> in;
  for (const Canary& canary : canaries_) {
    report.took_part += canary.rounds > 0 ? 1 : 0;
    // Who took part is public, but for Poisson samples.
    if (canary.rounds == 0 && !task_.sampling_probability.has_value()) continue;
    scores.push_back(canary.score);
    in.push_back(canary.in);
  }
  if (static_cast<int64_t>(scores.size()) < kFewestCanaries) {
    return absl::FailedPreconditionError(
        StrCat("canary audit: ", scores.size(), " of ", report.canaries,
               " canaries took part in a round, and it takes ", kFewestCanaries,
               ": ask for more canaries, more rounds, or fewer devices"));
  }
  MLEDGE_ASSIGN_OR_RETURN(
      const CanaryBound bound,
      BoundEpsilonByCanaries(scores, in, claim_.delta(), kConfidence));
  report.epsilon_lower_bound = bound.epsilon;
  report.guesses = bound.guesses.guesses;
  report.correct = bound.guesses.correct;
  return report;
}

}  // namespace mledge::simulation_internal
