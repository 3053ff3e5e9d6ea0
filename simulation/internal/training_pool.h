#ifndef MLEDGE_SIMULATION_INTERNAL_TRAINING_POOL_H_
#define MLEDGE_SIMULATION_INTERNAL_TRAINING_POOL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/client/example_store.h"
#include "mledge/client/local_trainer.h"
#include "mledge/client/session_effects.h"
#include "mledge/core/mutex.h"
#include "mledge/core/update.h"

// The threads on which simulated devices train. Each has its own trainers, one
// a package, which it uses for one device after the other; work that is needed
// earlier on the virtual clock goes first. What comes out does not depend on
// how many threads there are or on which runs what: a trainer's results do not
// depend on what it did before, and evaluations are cut into fixed blocks whose
// sums are added in their order. Thread-safe.

namespace mledge::simulation_internal {

// What one device's work came to.
struct TrainedUpdate {
  FinishedUpdate finished;
  // Without `serialize`.
  std::optional<Update> update;
  // With it: the update file.
  std::string file;
};

// One device's work: asked for at its virtual start, waited for at its virtual
// end.
class TrainingRun {
 public:
  // Drops what has not begun and ends the rest soon.
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  // Waits until it is done, or until `stop`. CANCELLED after Cancel or `stop`.
  // Takes the result: call once.
  absl::StatusOr<TrainedUpdate> Wait(const std::function<bool()>& stop);

 private:
  friend class TrainingPool;

  std::shared_ptr<const TrainingJob> job_;
  std::shared_ptr<const ExampleStore> examples_;
  std::vector<int64_t> positions_;
  std::function<Update()> made_;  // instead of training; null: trained
  bool serialize_ = false;
  std::atomic<bool> cancelled_{false};

  Mutex mutex_;
  CondVar changed_;
  std::vector<absl::StatusOr<Update>> parts_ ABSL_GUARDED_BY(mutex_);
  size_t parts_done_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<absl::StatusOr<TrainedUpdate>> result_ ABSL_GUARDED_BY(mutex_);
};

class TrainingPool {
 public:
  // Examples of one block of an evaluation.
  static constexpr int64_t kEvaluationBlock = 1000;

  // `factory` must outlive the pool. `on_start` runs first in each thread.
  TrainingPool(int workers, TrainerFactory* factory,
               std::function<void()> on_start);
  // Cancels what waits and waits for what runs.
  ~TrainingPool();

  // Begins as soon as a thread is free. `positions` of `examples` are the
  // device's own; `needed_at` is the virtual time at which the result is.
  std::shared_ptr<TrainingRun> Submit(
      std::shared_ptr<const TrainingJob> job,
      std::shared_ptr<const ExampleStore> examples,
      std::span<const int64_t> positions, absl::Time needed_at, bool serialize);

  // The same with an update that `made` makes, on one of the threads.
  std::shared_ptr<TrainingRun> SubmitMade(
      std::shared_ptr<const TrainingJob> job, std::function<Update()> made,
      absl::Time needed_at, bool serialize);

  int workers() const { return static_cast<int>(threads_.size()); }
  // Wall time that threads spent training so far, all together.
  absl::Duration busy() const {
    return absl::Nanoseconds(busy_nanoseconds_.load());
  }

 private:
  using Trainers = std::map<Digest, std::unique_ptr<LocalTrainer>>;

  struct Part {
    absl::Time needed_at;
    uint64_t sequence = 0;
    size_t index = 0;
    std::shared_ptr<TrainingRun> run;

    bool operator<(const Part& other) const {  // later ones are "less"
      return needed_at != other.needed_at ? needed_at > other.needed_at
                                          : sequence > other.sequence;
    }
  };

  // In `parts` parts.
  void Queue(std::shared_ptr<TrainingRun> run, int64_t parts,
             absl::Time needed_at);
  void Work();
  absl::StatusOr<Update> RunPart(const TrainingRun& run, size_t index,
                                 Trainers* trainers);
  void Finish(TrainingRun* run, size_t index, absl::StatusOr<Update> update);

  TrainerFactory* const factory_;
  std::function<void()> on_start_;
  std::atomic<int64_t> busy_nanoseconds_{0};

  Mutex mutex_;
  CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t next_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  std::priority_queue<Part> parts_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

}  // namespace mledge::simulation_internal

#endif  // MLEDGE_SIMULATION_INTERNAL_TRAINING_POOL_H_
