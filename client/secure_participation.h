#ifndef MLEDGE_CLIENT_SECURE_PARTICIPATION_H_
#define MLEDGE_CLIENT_SECURE_PARTICIPATION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/aggregation/secagg/client.h"
#include "mledge/aggregation/secagg/update_codec.h"
#include "mledge/client/member_registry.h"
#include "mledge/client/retry_policy.h"
#include "mledge/client/secure_effects.h"
#include "mledge/core/ids.h"
#include "mledge/core/secret_bytes.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/sha256.h"
#include "mledge/core/update.h"
#include "mledge/identity/witness_key.h"
#include "mledge/v1/device_service.pb.h"

// Step 4 of the way of the data where the task has secure aggregation: takes
// one finished update to its place in a sum, through as many sessions as it
// takes, as long as its masked input has left the device in none of them.
// aggregation/secagg/client.h is one session; this is what lies around it: the
// stream and its breaking, the revocation list, uploads and their repetition,
// the next session after one that came to nothing. Next: coordinator/round.h.
//
// Sans-I/O, like DeviceSession: takes the time and one event, returns effects.
// secure_runner.h drives it on real time, the simulator on a virtual clock. Not
// thread-safe.

namespace mledge {

// Order of calls: Create, Start, then On... and OnWake in any order; late,
// repeated and unasked answers do no harm. To stop, destroy it: what is on disk
// is enough to go on.
class SecureParticipation {
 public:
  struct Options {
    DeviceId device;  // keys the jitter of its pauses
    secagg::ClientPolicy policy;
    RetryBackoff::Options backoff;
    // How long to wait for word about an update whose session this device can
    // no longer follow, before it counts as lost.
    absl::Duration verdict_wait = absl::Minutes(1);
    // So many sessions in a row that this device cannot accept, and it gives
    // up.
    int maximum_refusals = 3;
  };

  struct Dependencies {  // all must outlive it
    const secagg::MemberSigner* signer = nullptr;
    MemberRegistry* members = nullptr;
    SecretRandom* random = nullptr;    // keys and masks
    SecretRandom* rounding = nullptr;  // of the update's values
    // The registrar's, pinned in the device's configuration.
    std::optional<WitnessPublicKey> registrar;
    const secagg::SessionCryptography* cryptography =
        &secagg::SessionCryptography::Default();
  };

  // `assignment` has been checked (assignment_check.h) and has `secure`.
  // `update` is what the pipeline left. `journal` is the task's.
  // INVALID_ARGUMENT: a dependency is missing, or the assignment is not such.
  // FAILED_PRECONDITION, OUT_OF_RANGE: see UpdateCodec.
  static absl::StatusOr<std::unique_ptr<SecureParticipation>> Create(
      Options options, Dependencies dependencies,
      const v1::Assignment& assignment, std::shared_ptr<const Update> update,
      SecaggJournal journal);
  ~SecureParticipation();

  SecureEffects Start(absl::Time now);
  SecureEffects OnStreamMessage(absl::Time now, CallId stream,
                                const v1::SecureAggregationResponse& message);
  // Also with OK: the coordinator ended it.
  SecureEffects OnStreamClosed(absl::Time now, CallId stream,
                               absl::Status status);
  SecureEffects OnSaved(absl::Time now, CallId call, absl::Status status);
  SecureEffects OnUploadAnswer(absl::Time now, CallId call,
                               absl::StatusOr<v1::UploadResult> answer);
  // Also to be called when the clock was set back: pauses keep their lengths.
  SecureEffects OnWake(absl::Time now);

  // Aggregated was the last effect.
  bool finished() const { return finished_; }

 private:
  class Turn;
  // What does not change from session to session.
  struct SessionInputs {
    Digest task;
    Digest package;
    uint64_t base_version = 0;
    Digest base_version_entry;
    std::shared_ptr<const Update> update;
  };
  // A masked input on its way.
  struct MaskedUpload {
    v1::UploadHeader header;
    std::shared_ptr<const std::string> bytes;
    CallId call;
    bool awaiting = false;
    absl::Time retry_at = absl::InfiniteFuture();
  };

  SecureParticipation(Options options, Dependencies dependencies,
                      const v1::Assignment& assignment, SessionInputs inputs,
                      secagg::UpdateCodec codec, SecaggJournal journal);

  // One session after the other.
  void MakeClient(Turn& turn);
  void Apply(Turn& turn, secagg::ClientEffects effects);
  void AfterSession(Turn& turn);
  void AwaitVerdict(Turn& turn);
  // Ends the session on this side without a word to the coordinator.
  void Abandon(Turn& turn, std::string_view why);

  // What comes on the stream.
  void OnList(Turn& turn, const v1::SignedMessage& list);
  void OnSecagg(Turn& turn, const v1::SecaggServerMessage& message);
  void OnVerdict(Turn& turn, const v1::SecaggServerMessage& message);
  void OnResult(Turn& turn, const v1::UploadResult& result);

  void OpenStream(Turn& turn);
  void Reopen(Turn& turn, const absl::Status& why);
  void Send(Turn& turn, v1::SecaggDeviceMessage message);
  void SendUpload(Turn& turn);
  void Finish(Turn& turn, absl::StatusOr<SecureOutcome> outcome);
  SecureEffects EndTurn(Turn& turn);
  CallId NextCall();

  const Options options_;
  const Dependencies dependencies_;
  const std::string task_id_;
  const std::string assignment_id_;
  const SessionInputs inputs_;
  const secagg::UpdateCodec codec_;
  SecaggJournal journal_;  // as saved last

  // Null while the update is used up and only the verdict is waited for.
  std::unique_ptr<secagg::SecaggClient> client_;
  bool in_session_ = false;  // the client was shown an offer, or restored
  bool quiet_ = false;       // what the client says is not sent
  // The session was given up for another one and not refused.
  bool superseded_ = false;
  int refusals_ = 0;
  Digest offer_;  // the last one that a client was shown
  // A session has ended, and its journal is being saved.
  std::optional<secagg::ClientFinished> ended_;
  std::optional<v1::SecaggServerMessage> next_offer_;  // came meanwhile
  // The coordinator's last word, while the journal is being saved.
  std::optional<SecureOutcome> result_;

  CallId last_call_;
  CallId stream_;
  bool stream_open_ = false;
  bool told_to_leave_ = false;  // nobody waits for this device any more
  CallId save_;                 // the last one
  uint64_t save_record_ = 0;    // of the client's
  std::optional<MaskedUpload> upload_;

  RetryBackoff stream_backoff_;
  RetryBackoff upload_backoff_;
  absl::Time last_turn_ = absl::InfinitePast();
  absl::Time reopen_at_ = absl::InfiniteFuture();
  absl::Time client_wakes_at_ = absl::InfiniteFuture();
  absl::Time verdict_by_ = absl::InfiniteFuture();
  absl::Time wake_at_ = absl::InfiniteFuture();  // as the driver knows it
  bool finished_ = false;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_SECURE_PARTICIPATION_H_
