#ifndef MLEDGE_CLIENT_SECURE_RUNNER_H_
#define MLEDGE_CLIENT_SECURE_RUNNER_H_

#include <functional>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/client/connection.h"
#include "mledge/client/device_storage.h"
#include "mledge/client/secure_participation.h"

// Carries out the effects of one SecureParticipation with a connection and a
// storage: what DeviceAgent does for its session, beside it on the same thread.
// Callbacks of the connection come on other threads and only post.

namespace mledge {

// Used by one thread; so are the events that it posts. Destroying it ends the
// stream; what is on disk is enough to go on.
class SecureRunner {
 public:
  // To be run by the runner's thread, unless the runner is gone by then.
  using Post = std::function<void(std::function<void(absl::Time)>)>;

  struct Dependencies {  // all must outlive it
    Connection* connection = nullptr;
    DeviceStorage* storage = nullptr;
    // May be called by any thread, also after the runner's end.
    Post post;
    std::function<void(const Notice&)> on_notice;
  };

  // Reads update and journal from the storage. Codes of the storage and of
  // SecureParticipation::Create.
  static absl::StatusOr<std::unique_ptr<SecureRunner>> Create(
      SecureParticipation::Options options,
      SecureParticipation::Dependencies participation,
      Dependencies dependencies, const v1::Assignment& assignment,
      absl::Duration upload_timeout);
  ~SecureRunner();

  void Start(absl::Time now);
  // Call then, or when the clock was set back.
  void OnWake(absl::Time now);
  absl::Time wake_at() const { return wake_at_; }
  // Once it is there, the runner has nothing left to do.
  const std::optional<absl::StatusOr<SecureOutcome>>& outcome() const {
    return outcome_;
  }

 private:
  SecureRunner(std::unique_ptr<SecureParticipation> participation,
               Dependencies dependencies, absl::Duration upload_timeout);

  // Posts an event for the participation.
  template <typename Event>
  static void PostEvent(const Post& post, std::weak_ptr<SecureRunner*> runner,
                        Event event);

  void Apply(SecureEffects effects);
  void Do(OpenSecureStream& effect);
  void Do(SendSecurely& effect);
  void Do(CloseSecureStream& effect);
  void Do(SaveSecaggJournal& effect);
  void Do(UploadMasked& effect);
  void Do(KeepListNumber& effect);
  void Do(Aggregated& effect);
  void Do(WakeAt& effect);
  void Do(Notice& effect);

  const std::unique_ptr<SecureParticipation> participation_;
  const Dependencies dependencies_;
  const absl::Duration upload_timeout_;
  // What posted events look at: the runner, as long as it is there.
  const std::shared_ptr<SecureRunner*> self_;

  std::shared_ptr<SecureStream> stream_;
  absl::Time wake_at_ = absl::InfiniteFuture();
  std::optional<absl::StatusOr<SecureOutcome>> outcome_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_SECURE_RUNNER_H_
