#ifndef MLEDGE_CLIENT_DEVICE_AGENT_H_
#define MLEDGE_CLIENT_DEVICE_AGENT_H_

#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/client/connection.h"
#include "mledge/client/device_session.h"
#include "mledge/client/device_storage.h"
#include "mledge/client/example_store.h"
#include "mledge/client/local_trainer.h"
#include "mledge/client/package_cache.h"
#include "mledge/client/secure_identity.h"
#include "mledge/client/secure_runner.h"
#include "mledge/client/training_worker.h"
#include "mledge/core/clock.h"
#include "mledge/core/mutex.h"

// A device as a program embeds it: runs a DeviceSession on real time against a
// coordinator, with a store of examples, a training library and a place to keep
// things. All decisions are the session's; this is the thread that carries out
// its effects. main.cc shows how the parts are put together.

namespace mledge {

// Thread-safe. Its dependencies must outlive it.
class DeviceAgent {
 public:
  struct Options {
    DeviceSession::Options session;
    TrustedSigners trusted;
    TrainingWorker::Options training;
    // What it demands of sessions of secure aggregation. Used where there is an
    // identity for them; else session.policy.secure is to be none.
    secagg::ClientPolicy secure;
  };

  struct Dependencies {
    Connection* connection = nullptr;
    DeviceStorage* storage = nullptr;
    TrainerFactory* trainers = nullptr;
    const ExampleStore* examples = nullptr;
    // Null: takes no part in secure aggregation.
    SecureIdentity* secure = nullptr;
    // Null: the real clock.
    Clock* clock = nullptr;
    // What a person may want to know; null: to the log. Called on the thread
    // that runs Run.
    std::function<void(const Notice&)> on_notice;
  };

  // INVALID_ARGUMENT: a dependency is missing, an option cannot be (see
  // PackageCache::Create), no examples.
  static absl::StatusOr<std::unique_ptr<DeviceAgent>> Create(
      Options options, Dependencies dependencies);
  // Run must have returned.
  ~DeviceAgent();

  // Takes part in rounds until Stop; call it once. OK after Stop; else the
  // storage's failure to load the journal.
  absl::Status Run();
  // Ends Run soon: running training saves a snapshot, calls are cancelled; the
  // next Run on the same storage goes on there. From any thread, also before
  // Run, more than once.
  void Stop();

  DeviceSession::Phase phase() const;
  DeviceSession::Counters counters() const;

 private:
  // An event for the session, to be given to it by the thread in Run.
  using Event = std::function<Effects(DeviceSession&, absl::Time)>;
  // Outlives the agent in callbacks that come late.
  struct Inbox;

  DeviceAgent(Options options, Dependencies dependencies,
              std::shared_ptr<PackageCache> cache);

  // Waits for an event, the wake-up, or Stop (then: none).
  std::optional<Event> NextEvent();
  void Apply(Effects effects);
  // Whether secure aggregation has come to its end: what the session says.
  Effects TakeSecureOutcome();

  void Do(SendCheckIn& effect);
  void Do(FetchBlob& effect);
  void Do(Persist& effect);
  void Do(StartTraining& effect);
  void Do(StopTraining& effect);
  void Do(Upload& effect);
  void Do(AggregateSecurely& effect);
  void Do(SendReport& effect);
  void Do(Forget& effect);
  void Do(WakeAt& effect);
  void Do(Notice& effect);

  const Options options_;
  const Dependencies dependencies_;
  Clock* const clock_;
  RealClock real_clock_;
  const std::shared_ptr<Inbox> inbox_;

  // Used by the thread in Run only.
  DeviceSession session_;
  absl::Time wake_at_ = absl::InfiniteFuture();
  // When the clock was last looked at while waiting.
  absl::Time last_look_ = absl::InfinitePast();
  std::shared_ptr<const PreparedUpdate> prepared_;
  std::unique_ptr<TrainingWorker> worker_;
  // Of the one call of AggregateSecurely under way.
  std::unique_ptr<SecureRunner> secure_;
  CallId secure_call_;

  mutable Mutex mutex_;
  DeviceSession::Phase phase_ ABSL_GUARDED_BY(mutex_) =
      DeviceSession::Phase::kNotStarted;
  DeviceSession::Counters counters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_DEVICE_AGENT_H_
