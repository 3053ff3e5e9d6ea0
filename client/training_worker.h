#ifndef MLEDGE_CLIENT_TRAINING_WORKER_H_
#define MLEDGE_CLIENT_TRAINING_WORKER_H_

#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/aggregation/update_file.h"
#include "mledge/client/device_storage.h"
#include "mledge/client/example_store.h"
#include "mledge/client/local_trainer.h"
#include "mledge/client/session_effects.h"
#include "mledge/core/mutex.h"
#include "mledge/core/secret_random.h"

// The thread on which a device trains: takes one job at a time from the start,
// or from its snapshot, through the trainer and the update pipeline to an
// update that is ready to be stored. Works in slices short enough that it can
// be stopped soon, and saves a snapshot now and then. Thread-safe.

namespace mledge {

// An update and what it will be called.
struct PreparedUpdate {
  FinishedUpdate finished;
  UpdateContext context;
  Update update;
};

// Runs the pipeline and forms the content hash of the update file, without
// writing it. The codes of UpdatePipeline::Run.
absl::StatusOr<PreparedUpdate> PrepareUpdate(const TrainingJob& job,
                                             Update update,
                                             SecretRandom& random);

class TrainingWorker {
 public:
  struct Options {
    // Between two snapshots; what a device that is killed loses.
    absl::Duration snapshot_interval = absl::Seconds(5);
    // About how long a stop has to wait.
    absl::Duration slice = absl::Milliseconds(100);
  };
  using Done = std::function<void(absl::StatusOr<PreparedUpdate>)>;

  // All must outlive the worker.
  TrainingWorker(const Options& options, TrainerFactory* trainers,
                 const ExampleStore* examples, DeviceStorage* storage);
  // Stops, saving a snapshot, and waits.
  ~TrainingWorker();

  // Calls `done` once, on the worker's thread: with the update, CANCELLED after
  // Stop, else the trainer's or the pipeline's failure. A job that is under
  // way is stopped first.
  void Start(std::shared_ptr<const TrainingJob> job, Done done);
  // Returns at once.
  void Stop(bool keep_snapshot);

 private:
  struct Request {
    std::shared_ptr<const TrainingJob> job;
    Done done;
  };
  enum class Command { kGoOn, kStopWithSnapshot, kStopWithout };

  void Run();
  absl::StatusOr<PreparedUpdate> Train(const TrainingJob& job);
  // Starts the trainer, or restores it.
  absl::Status Begin(const TrainingJob& job);
  absl::Status SaveSnapshot(const TrainingJob& job);
  Command command();

  const Options options_;
  TrainerFactory* const trainers_;
  const ExampleStore* const examples_;
  DeviceStorage* const storage_;

  // Used by the worker's thread only. Kept from job to job, as loading a
  // package takes longer than a small round.
  std::unique_ptr<LocalTrainer> trainer_;
  Digest trainer_package_;

  Mutex mutex_;
  CondVar wake_;
  std::optional<Request> next_ ABSL_GUARDED_BY(mutex_);
  Command command_ ABSL_GUARDED_BY(mutex_) = Command::kGoOn;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_TRAINING_WORKER_H_
