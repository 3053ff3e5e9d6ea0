#ifndef MLEDGE_SIMULATION_INTERNAL_FLEET_H_
#define MLEDGE_SIMULATION_INTERNAL_FLEET_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/client/device_session.h"
#include "mledge/client/package_cache.h"
#include "mledge/client/secure_participation.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/simulation/device_model.h"
#include "mledge/simulation/event_queue.h"
#include "mledge/simulation/internal/in_process_link.h"
#include "mledge/simulation/internal/secure_fleet.h"
#include "mledge/simulation/internal/training_pool.h"
#include "mledge/simulation/partitioner.h"

// All devices of a simulation, and the evaluator: it carries out what their
// sessions (client/device_session.h) ask for, at the virtual times that the
// device model gives. A device that waits for work costs a few bytes here: its
// session is made when the coordinator answers. The evaluator is an instrument
// and no part of the fleet: it takes no virtual time and no bandwidth. Not
// thread-safe: it lives on the thread that runs the event queue.

namespace mledge::simulation_internal {

class CanaryAudit;

// What a signed message costs on the wire: its size with signature and
// certificates at their largest. Their real sizes vary by a few bytes from one
// throw-away key to the next, and virtual times must not.
uint64_t ChargedSize(const v1::SignedMessage& message);

struct Traffic {
  uint64_t up_in_bytes = 0;
  uint64_t down_in_bytes = 0;
};

class Fleet {
 public:
  struct Options {
    std::shared_ptr<const Partition> partition;
    std::shared_ptr<const ExampleStore> training_data;
    // Of the evaluator; null: there is none.
    std::shared_ptr<const ExampleStore> test_data;
    std::optional<FleetModel> model;  // required
    std::string population;
    std::shared_ptr<PackageCache> cache;
    // Who the devices are in secure aggregation; null where the task has none.
    SecureFleet* secure = nullptr;
    // Its canaries do not train; null: there are none. Outlives the fleet.
    CanaryAudit* audit = nullptr;
    bool wire = false;
    // Asked while waiting for training; true ends the waiting.
    std::function<bool()> stop;
    std::function<void(std::string_view device, const Notice&)> on_notice;
  };

  // All must outlive the fleet, and the queue's events must not run after it.
  Fleet(Options options, EventQueue* queue, Coordinator* coordinator,
        TrainingPool* pool);

  // Sends everybody's first check-in.
  void Start();
  // For a blob whose size depends on how keys and signatures came out: the size
  // that is charged for it instead (see ChargedSize).
  void ChargeBlob(const Digest& digest, uint64_t size_in_bytes) {
    charged_sizes_[digest] = size_in_bytes;
  }
  // Updates of this round are not taken any more: what still trains for it need
  // not be computed. Its devices learn it when they upload, as in the field.
  void RoundClosed(int64_t round);

  // Ends every device's streams: before the coordinator goes.
  void Disconnect();

  int64_t devices() const { return options_.partition->devices(); }
  const Traffic& traffic() const { return traffic_; }
  // Assignments in which the device vanished.
  int64_t vanished() const { return vanished_; }

 private:
  // What a device has while it takes its update to a secure sum. Messages of
  // one stream keep their order.
  struct Aggregation {
    uint64_t number = 0;  // no other one of the fleet has it
    CallId call;          // of the session
    std::unique_ptr<SecureFleet::Randomness> randomness;
    std::unique_ptr<SecureParticipation> participation;
    CallId stream_call;
    std::unique_ptr<Coordinator::SecureStream> stream;
    absl::Time last_sent = absl::InfinitePast();
    absl::Time last_received = absl::InfinitePast();
    absl::Time wake_at = absl::InfiniteFuture();
    std::optional<int> vanishes_before;  // step of the session
  };
  // What a device has while it works.
  struct Active {
    explicit Active(DeviceSession session) : session(std::move(session)) {}
    DeviceSession session;
    absl::Time wake_at = absl::InfiniteFuture();
    std::shared_ptr<const TrainingJob> job;
    std::shared_ptr<TrainingRun> run;
    // The round closed while it trained: there will be no update.
    bool skipped = false;
    std::optional<TrainedUpdate> trained;
    std::shared_ptr<const Update> update;  // for secure aggregation
    std::unique_ptr<Aggregation> aggregation;
  };
  struct Device {
    std::unique_ptr<Active> active;  // null while it waits for work
    // Grows when the device vanishes: its events of before do not count.
    uint32_t generation = 0;
    bool has_package = false;
    bool has_task = false;
    // On its disk.
    SecaggJournal journal;
    std::map<Digest, std::string> privacy_records;
  };
  using Reaction = std::function<Effects(Active& active)>;
  // A device that vanished comes back when its assignment has surely ended.
  static constexpr absl::Duration kAbsence = absl::Seconds(1);

  bool IsEvaluator(int64_t device) const { return device == devices(); }
  DeviceId IdOf(int64_t device) const;
  Peer PeerOf(int64_t device) const;
  DeviceSession MakeSession(int64_t device) const;
  absl::Duration Up(int64_t device, uint64_t bytes);
  absl::Duration Down(int64_t device, uint64_t bytes);

  // Runs `reaction` at `time` if the device is still there, and carries out
  // what the session then wants.
  void React(absl::Time time, int64_t device, Reaction reaction);
  void CarryOut(int64_t device, Effects effects);

  void Do(int64_t device, SendCheckIn effect);
  void Do(int64_t device, FetchBlob effect);
  void Do(int64_t device, Persist effect);
  void Do(int64_t device, StartTraining effect);
  void Do(int64_t device, StopTraining effect);
  void Do(int64_t device, Upload effect);
  void Do(int64_t device, AggregateSecurely effect);
  void Do(int64_t device, SendReport effect);
  void Do(int64_t device, Forget effect);
  void Do(int64_t device, WakeAt effect);
  void Do(int64_t device, Notice effect);

  void CheckIn(int64_t device, CallId call,
               std::shared_ptr<const v1::CheckInRequest> request);
  void AnswerCheckIn(int64_t device, CallId call,
                     absl::StatusOr<v1::CheckInResponse> answer);
  void BeginUpload(int64_t device, const Upload& effect);
  void Vanish(int64_t device, absl::Time comes_back);
  std::shared_ptr<const v1::CheckInRequest> FirstRequest(int64_t device) const;
  absl::StatusOr<FinishedUpdate> Finished(Active& active);

  // Secure aggregation (fleet_secure.cc).
  using SecureReaction =
      std::function<SecureEffects(SecureParticipation& participation)>;
  absl::StatusOr<std::unique_ptr<SecureParticipation>> MakeParticipation(
      int64_t device, const v1::Assignment& assignment,
      SecureFleet::Randomness& randomness);
  void ReactSecurely(absl::Time time, int64_t device, SecureReaction reaction);
  bool Aggregates(int64_t device, uint64_t number) const;
  void CarryOutSecurely(int64_t device, SecureEffects effects);
  void Aggregated(int64_t device, absl::StatusOr<SecureOutcome> outcome);
  // Whether the device vanishes here.
  bool VanishesBefore(int64_t device, int step);
  void DoSecurely(int64_t device, OpenSecureStream effect);
  void DoSecurely(int64_t device, SendSecurely effect);
  void DoSecurely(int64_t device, CloseSecureStream effect);
  void DoSecurely(int64_t device, SaveSecaggJournal effect);
  void DoSecurely(int64_t device, UploadMasked effect);
  void DoSecurely(int64_t device, KeepListNumber effect);
  void DoSecurely(int64_t device, ::mledge::Aggregated effect);
  void DoSecurely(int64_t device, WakeAt effect);
  void DoSecurely(int64_t device, Notice effect);

  const Options options_;
  EventQueue* const queue_;
  TrainingPool* const pool_;
  InProcessLink link_;
  std::vector<Device> devices_;
  std::vector<int64_t> all_test_examples_;
  std::map<Digest, uint64_t> charged_sizes_;
  Traffic traffic_;
  uint64_t last_aggregation_ = 0;
  int64_t vanished_ = 0;
};

}  // namespace mledge::simulation_internal

#endif  // MLEDGE_SIMULATION_INTERNAL_FLEET_H_
