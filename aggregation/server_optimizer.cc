#include "mledge/aggregation/server_optimizer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "mledge/aggregation/internal/sealed_state.h"
#include "mledge/core/mutex.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/core/update.h"

namespace mledge {
namespace {

constexpr std::string_view kOptimizerMagic = "MLEDGESO";
// Means of one range are held at a time, in double.
constexpr int64_t kStepGrain = 1 << 14;

class ServerSgdOptimizer final : public ServerOptimizer {
 public:
  ServerSgdOptimizer(const ServerSgdOptions& options,
                     std::shared_ptr<const ParameterLayout> layout)
      : ServerOptimizer(options, std::move(layout)), sgd_(options) {
    // Plain averaging keeps no state at all.
    if (sgd_.momentum != 0) moments_.emplace_back(layout_->trainable_size());
  }

 private:
  void Step(int64_t begin, int64_t end, const double* mean,
            float* parameters) override {
    if (sgd_.momentum == 0) {
      for (int64_t i = begin; i < end; ++i) {
        parameters[i] = static_cast<float>(parameters[i] + sgd_.learning_rate *
                                                               mean[i - begin]);
      }
      return;
    }
    float* velocity = moments_[0].span().data();
    for (int64_t i = begin; i < end; ++i) {
      const double u = sgd_.momentum * velocity[i] + mean[i - begin];
      velocity[i] = static_cast<float>(u);
      parameters[i] =
          static_cast<float>(parameters[i] + sgd_.learning_rate * u);
    }
  }

  const ServerSgdOptions sgd_;
};

class ServerAdamOptimizer final : public ServerOptimizer {
 public:
  ServerAdamOptimizer(const ServerAdamOptions& options,
                      std::shared_ptr<const ParameterLayout> layout)
      : ServerOptimizer(options, std::move(layout)), adam_(options) {
    moments_.emplace_back(layout_->trainable_size());
    moments_.emplace_back(layout_->trainable_size());
    std::ranges::fill(moments_[1].span(),
                      static_cast<float>(adam_.tau * adam_.tau));
  }

 private:
  void Step(int64_t begin, int64_t end, const double* mean,
            float* parameters) override {
    float* first = moments_[0].span().data();
    float* second = moments_[1].span().data();
    for (int64_t i = begin; i < end; ++i) {
      const double delta = mean[i - begin];
      const double m = adam_.beta1 * first[i] + (1 - adam_.beta1) * delta;
      const double v =
          adam_.beta2 * second[i] + (1 - adam_.beta2) * delta * delta;
      first[i] = static_cast<float>(m);
      second[i] = static_cast<float>(v);
      parameters[i] = static_cast<float>(
          parameters[i] + adam_.learning_rate * m / (std::sqrt(v) + adam_.tau));
    }
  }

  const ServerAdamOptions adam_;
};

absl::Status CheckPositive(std::string_view name, double value) {
  if (std::isfinite(value) && value > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat("server optimizer: ", name, " is ", value,
             "; it must be greater than 0 and finite"));
}

absl::Status CheckFraction(std::string_view name, double value) {
  if (value >= 0 && value < 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat("server optimizer: ", name, " is ", value,
             "; it must be at least 0 and less than 1"));
}

// The entry that holds element `index` of the flat vector.
std::string EntryAt(const ParameterLayout& layout, int64_t index) {
  for (const ParameterEntry& entry : layout.entries()) {
    if (index >= entry.offset && index < entry.offset + entry.extent()) {
      return entry.name;
    }
  }
  return "?";
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServerOptimizer>> ServerOptimizer::Create(
    const ServerOptimizerOptions& options,
    std::shared_ptr<const ParameterLayout> layout) {
  if (const auto* sgd = std::get_if<ServerSgdOptions>(&options)) {
    MLEDGE_RETURN_IF_ERROR(CheckPositive("learning_rate", sgd->learning_rate));
    MLEDGE_RETURN_IF_ERROR(CheckFraction("momentum", sgd->momentum));
    return std::make_unique<ServerSgdOptimizer>(*sgd, std::move(layout));
  }
  const auto& adam = std::get<ServerAdamOptions>(options);
  MLEDGE_RETURN_IF_ERROR(CheckPositive("learning_rate", adam.learning_rate));
  MLEDGE_RETURN_IF_ERROR(CheckFraction("beta1", adam.beta1));
  MLEDGE_RETURN_IF_ERROR(CheckFraction("beta2", adam.beta2));
  MLEDGE_RETURN_IF_ERROR(CheckPositive("tau", adam.tau));
  return std::make_unique<ServerAdamOptimizer>(adam, std::move(layout));
}

ServerOptimizer::ServerOptimizer(ServerOptimizerOptions options,
                                 std::shared_ptr<const ParameterLayout> layout)
    : options_(std::move(options)), layout_(std::move(layout)) {}

absl::Status ServerOptimizer::Apply(const AggregationSum& sum,
                                    ParameterVector* parameters,
                                    ThreadPool* pool) {
  if (parameters->layout() == nullptr ||
      parameters->layout()->fingerprint() != layout_->fingerprint()) {
    return absl::InvalidArgumentError(
        "the parameters have another layout than the server optimizer");
  }
  const int64_t shared = layout_->shared_size();
  const int64_t trainable = layout_->trainable_size();
  const AggregationSum::Section* delta = sum.FindSection(kDeltaSection);
  if (delta == nullptr ||
      static_cast<int64_t>(delta->integers.size()) != shared) {
    return absl::InvalidArgumentError(StrCat("the sum has no section \"",
                                             kDeltaSection, "\" of ", shared,
                                             " values"));
  }
  if (sum.weight_sum <= 0) {
    return absl::FailedPreconditionError("the sum holds no update");
  }
  const double divisor =
      std::ldexp(static_cast<double>(sum.weight_sum), sum.fraction_bits) /
      sum.unit;
  float* values = parameters->values().data();
  Mutex mutex;
  int64_t first_bad = shared;
  ParallelFor(pool, shared, kStepGrain, [&](int64_t begin, int64_t end) {
    std::vector<double> mean(end - begin);
    for (int64_t i = begin; i < end; ++i) {
      mean[i - begin] = static_cast<double>(delta->integers[i]) / divisor;
    }
    const int64_t split = std::clamp(trainable, begin, end);
    if (begin < split) Step(begin, split, mean.data(), values);
    for (int64_t i = split; i < end; ++i) {
      values[i] = static_cast<float>(values[i] + mean[i - begin]);
    }
    if (const auto bad = FindNonFinite({values + begin, values + end})) {
      MutexLock lock(&mutex);
      first_bad = std::min(first_bad, begin + static_cast<int64_t>(*bad));
    }
  });
  if (first_bad < shared) {
    return absl::FailedPreconditionError(
        StrCat("training diverged: the new value ", first_bad, " (",
               EntryAt(*layout_, first_bad),
               ") is not finite; lower the learning rates or set "
               "local_training.clip_norm"));
  }
  return absl::OkStatus();
}

Digest ServerOptimizer::StateFingerprint() const {
  Sha256 hash;
  hash.UpdateField("mledge/server-optimizer/1");
  hash.UpdateU64(options_.index());
  const auto update = [&hash](double value) {
    hash.UpdateU64(std::bit_cast<uint64_t>(value));
  };
  if (const auto* sgd = std::get_if<ServerSgdOptions>(&options_)) {
    update(sgd->learning_rate);
    update(sgd->momentum);
  } else {
    const auto& adam = std::get<ServerAdamOptions>(options_);
    update(adam.learning_rate);
    update(adam.beta1);
    update(adam.beta2);
    update(adam.tau);
  }
  hash.Update(layout_->fingerprint().bytes);
  return hash.Finish();
}

std::string ServerOptimizer::Serialize() const {
  std::vector<std::string_view> parts;
  for (const AlignedFloats& moment : moments_) {
    parts.emplace_back(reinterpret_cast<const char*>(moment.span().data()),
                       moment.span().size_bytes());
  }
  return aggregation_internal::SealState(kOptimizerMagic, StateFingerprint(),
                                         parts);
}

absl::Status ServerOptimizer::Restore(std::string_view bytes) {
  size_t size = 0;
  for (const AlignedFloats& moment : moments_) {
    size += moment.span().size_bytes();
  }
  MLEDGE_ASSIGN_OR_RETURN(
      std::string_view state,
      aggregation_internal::OpenState(kOptimizerMagic, StateFingerprint(), size,
                                      bytes));
  for (AlignedFloats& moment : moments_) {
    const size_t part = moment.span().size_bytes();
    if (part == 0) continue;
    std::memcpy(moment.span().data(), state.data(), part);
    state.remove_prefix(part);
  }
  return absl::OkStatus();
}

}  // namespace mledge
