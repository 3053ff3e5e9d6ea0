#ifndef MLEDGE_SIMULATION_INTERNAL_CANARY_AUDIT_H_
#define MLEDGE_SIMULATION_INTERNAL_CANARY_AUDIT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/session_effects.h"
#include "mledge/core/update.h"
#include "mledge/model/package.h"
#include "mledge/privacy/plan/private_task.h"
#include "mledge/simulation/simulator.h"
#include "mledge/v1/task.pb.h"

// A canary audit of a private task while it is simulated: the last devices of
// the fleet are canaries. Each has a direction of its own, public, and a fair
// coin; where it came up the device sends, instead of what it would have
// trained, a step in its direction as long as the clip norm, otherwise nothing
// but zeros. That is the adjacency of the claim (zero-out), and everything
// behind it is the code that ships: pipeline, secure aggregation, noise, server
// optimizer. An adversary who sees the released models scores each canary by
// how far the rounds that it took part in moved the model in its direction, and
// guesses the coins; privacy/audit/one_run_audit.h makes of that a lower bound.
//
// Whoever receives models does not know who is in a Poisson sample, so there
// each round is scored for every canary, by its likelihood either way.
//
// Order of calls: Trains for who takes part in a round, then Released with its
// version; Report at any time. UpdateOf is thread-safe, nothing else is.

namespace mledge::simulation_internal {

class CanaryAudit {
 public:
  static constexpr double kConfidence = 0.95;

  // INVALID_ARGUMENT: a task that claims nothing, or whose noise is that of
  // another cohort than the simulated one; more canaries than devices, or too
  // few; a server optimizer whose steps do not show the mean. Says what to
  // change.
  static absl::StatusOr<std::unique_ptr<CanaryAudit>> Create(
      const v1::Task& task, const ModelPackage& package, int64_t canaries,
      int64_t devices);

  bool IsCanary(int64_t device) const { return device >= first_; }
  // Device `device` begins to train for `round`, with that clip norm.
  void Trains(int64_t device, int64_t round, double clip_norm);
  // What canary `device` has instead of a trained update.
  Update UpdateOf(int64_t device, double clip_norm) const;
  // The model that `round` came to.
  void Released(int64_t round, std::span<const float> parameters);

  // With what was released so far. FAILED_PRECONDITION: too few canaries took
  // part.
  absl::StatusOr<CanaryAuditReport> Report() const;

 private:
  struct Canary {
    bool in = false;
    // One bit a trainable value: which way the direction points there.
    std::vector<uint32_t> signs;
    double score = 0;  // log-likelihood of "in" over "out"
    int64_t rounds = 0;
  };

  CanaryAudit(const ModelPackage& package, PrivateTask task,
              v1::PrivacyClaim claim, const v1::ServerSgd& server);
  static bool Up(const Canary& canary, size_t i) {
    return (canary.signs[i / 32] >> (i % 32) & 1) != 0;
  }
  // ⟨mean, direction⟩.
  double Project(const Canary& canary, std::span<const double> mean) const;

  const std::shared_ptr<const ParameterLayout> layout_;
  const PrivateTask task_;
  const v1::PrivacyClaim claim_;
  // Of every canary but for its signs: a unit vector.
  const std::vector<double> direction_;
  const double learning_rate_;  // of the server
  const double momentum_;
  int64_t first_ = 0;  // canary among the devices
  std::vector<Canary> canaries_;
  // Canaries in rounds that are not released yet.
  std::map<int64_t, std::vector<size_t>> taking_part_;
  std::vector<double> parameters_;  // the newest, trainable ones
  std::vector<double> step_;        // that led there
  double clip_norm_;                // of the newest round that anybody was in
};

}  // namespace mledge::simulation_internal

#endif  // MLEDGE_SIMULATION_INTERNAL_CANARY_AUDIT_H_
