#ifndef MLEDGE_AGGREGATION_SERVER_OPTIMIZER_H_
#define MLEDGE_AGGREGATION_SERVER_OPTIMIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/aggregation/aggregator.h"
#include "mledge/core/executor.h"
#include "mledge/core/parameters.h"

// From a round's sum to the next version of the model. With Δ the weighted mean
// of the section "delta" (new minus base parameters of the devices):
//
//   SGD with momentum   u ← β·u + Δ;  x ← x + η·u
//     (η = 1, β = 0: federated averaging, McMahan et al., AISTATS 2017; with
//     momentum FedAvgM, Hsu et al. 2019)
//   Adam                m ← β₁·m + (1−β₁)·Δ;  v ← β₂·v + (1−β₂)·Δ²;
//                       x ← x + η·m / (√v + τ)
//     (FedAdam, Reddi et al., "Adaptive federated optimization", ICLR 2021,
//     algorithm 2: no bias correction, v starts at τ²)
//
// Averaged buffers (the layout's range trainable_size … shared_size) take the
// plain mean whatever the optimizer; what lies behind stays. Computed in double
// and rounded once to float32, per element, so the split over threads does not
// matter. What comes next: coordinator/publisher.h.

namespace mledge {

struct ServerSgdOptions {
  double learning_rate = 1;  // > 0, finite
  double momentum = 0;       // 0 ≤ momentum < 1

  bool operator==(const ServerSgdOptions&) const = default;
};

struct ServerAdamOptions {
  double learning_rate = 0;  // > 0, finite
  double beta1 = 0.9;        // 0 ≤ beta1 < 1
  double beta2 = 0.99;       // 0 ≤ beta2 < 1
  double tau = 1e-3;         // > 0, finite

  bool operator==(const ServerAdamOptions&) const = default;
};

using ServerOptimizerOptions =
    std::variant<ServerSgdOptions, ServerAdamOptions>;

// Not thread-safe.
class ServerOptimizer {
 public:
  // State for models of this layout, as before the first round.
  // INVALID_ARGUMENT: an option out of its range.
  static absl::StatusOr<std::unique_ptr<ServerOptimizer>> Create(
      const ServerOptimizerOptions& options,
      std::shared_ptr<const ParameterLayout> layout);
  virtual ~ServerOptimizer() = default;

  // One step in place. On error neither state nor parameters may be used any
  // further. INVALID_ARGUMENT: the sum has no section "delta" of the layout's
  // shared size, or `parameters` has another layout. FAILED_PRECONDITION: the
  // sum is empty, or a new value is no longer finite (training diverged), with
  // the entry's name.
  absl::Status Apply(const AggregationSum& sum, ParameterVector* parameters,
                     ThreadPool* pool = nullptr);

  // Everything that outlives a round, as bytes that end with their SHA-256.
  std::string Serialize() const;
  // DATA_LOSS: bytes that are damaged or no such state. FAILED_PRECONDITION:
  // state of another optimizer, other options or another layout.
  absl::Status Restore(std::string_view bytes);

 protected:
  ServerOptimizer(ServerOptimizerOptions options,
                  std::shared_ptr<const ParameterLayout> layout);

  // New trainable values in [begin, end) from their means; `mean[0]` belongs
  // to `begin`, `parameters` and moments are whole vectors.
  virtual void Step(int64_t begin, int64_t end, const double* mean,
                    float* parameters) = 0;

  const ServerOptimizerOptions options_;
  const std::shared_ptr<const ParameterLayout> layout_;
  // Moments over the trainable prefix, each of its size.
  std::vector<AlignedFloats> moments_;

 private:
  Digest StateFingerprint() const;
};

}  // namespace mledge

#endif  // MLEDGE_AGGREGATION_SERVER_OPTIMIZER_H_
