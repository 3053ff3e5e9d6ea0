#ifndef MLEDGE_CLIENT_SECURE_EFFECTS_H_
#define MLEDGE_CLIENT_SECURE_EFFECTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/client/session_effects.h"
#include "mledge/core/secret_bytes.h"
#include "mledge/core/sha256.h"
#include "mledge/v1/device_service.pb.h"

// What a SecureParticipation asks of its driver. Effects are carried out in the
// order of the list; those with a `call` are answered by the event named beside
// them with the same number. Values, but for the journal, which is a secret and
// is moved.

namespace mledge {

// What a device keeps of secure aggregation, for each task, over sessions,
// assignments and restarts (v1::SecaggJournal): which session it joined last,
// which update is used up, and, during a session, shares of its neighbours'
// seeds.
struct SecaggJournal {
  SecretBytes bytes;  // empty: nothing was ever kept
  // What the journal calls its masked input; null where it has none, or the
  // file is gone or altered.
  std::shared_ptr<const std::string> masked_input;
};

// What happens to the stored masked input together with a new journal.
enum class MaskedInputAction { kKeep, kStore, kErase };

// How an update ended that went the way of secure aggregation.
struct SecureOutcome {
  enum class Kind {
    kCounted,  // it is in a sum that is on the coordinator's disk
    kTooLate,  // the round ended without it; not an error
    kRefused,  // by the coordinator
    // It left the device, masked, and no sum is known to hold it. It enters no
    // other session: the difference of two would show it.
    kLost,
  };
  Kind kind = Kind::kLost;
  std::string reason;
};

// Open the stream and send `join`. → OnStreamMessage any number of times, then
// OnStreamClosed once, also when it never came about.
struct OpenSecureStream {
  CallId call;
  v1::SecureAggregationJoin join;
};
// On the open stream; lost if it breaks, which does no harm.
struct SendSecurely {
  CallId call;  // the stream's
  v1::SecaggDeviceMessage message;
};
// No more will be sent, and nothing that still comes is looked at.
struct CloseSecureStream {
  CallId call;
};
// Make durable, in place of the task's journal; with kStore the masked input
// first. → OnSaved, only when it is durable.
struct SaveSecaggJournal {
  CallId call;
  Digest task;  // SHA-256 of its signed payload
  SecretBytes journal;
  MaskedInputAction action = MaskedInputAction::kKeep;
  std::shared_ptr<const std::string> masked_input;  // for kStore
};
// One attempt. → OnUploadAnswer.
struct UploadMasked {
  CallId call;
  v1::UploadHeader header;
  std::shared_ptr<const std::string> bytes;
};
// The number of the newest revocation list: to be kept across restarts, so that
// an older list cannot come back. Not answered.
struct KeepListNumber {
  uint64_t number = 0;
};
// The last effect. An error is no word about the update: the codes of
// kPermanentUploadFailures mean that it cannot take part, others that it may be
// tried again.
struct Aggregated {
  absl::StatusOr<SecureOutcome> outcome;
};

// WakeAt and Notice as in session_effects.h.
using SecureEffect =
    std::variant<OpenSecureStream, SendSecurely, CloseSecureStream,
                 SaveSecaggJournal, UploadMasked, KeepListNumber, Aggregated,
                 WakeAt, Notice>;
using SecureEffects = std::vector<SecureEffect>;

}  // namespace mledge

#endif  // MLEDGE_CLIENT_SECURE_EFFECTS_H_
