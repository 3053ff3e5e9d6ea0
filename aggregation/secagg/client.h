#ifndef MLEDGE_AGGREGATION_SECAGG_CLIENT_H_
#define MLEDGE_AGGREGATION_SECAGG_CLIENT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/aggregation/secagg/membership.h"
#include "mledge/aggregation/secagg/merkle.h"
#include "mledge/aggregation/secagg/modular.h"
#include "mledge/aggregation/secagg/parameters.h"
#include "mledge/aggregation/secagg/session_cryptography.h"
#include "mledge/core/secret_bytes.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/sha256.h"
#include "mledge/identity/witness_key.h"
#include "mledge/v1/secure_aggregation.pb.h"

// A device's end of one session of secure aggregation: from a finished update
// to its place in a sum that nobody sees without the others. It trusts the
// coordinator to deliver messages and for nothing else. The rounds are in
// round_N_…_client.cc; docs/secagg_protocol.md says what each check is for.
//
// Sans-I/O: each call takes the time and one event and returns what to do, in
// that order. Not thread-safe.

namespace mledge::secagg {

// What a device demands, from its own configuration and never from a message.
struct ClientPolicy {
  SecaggPolicy session;
  // What the registrar allows a task; makes σ hold for a day of sessions.
  int64_t registrar_sessions_per_day = 1000;
  // Sessions of one task that this device joins within 24 hours.
  int64_t sessions_per_day = 100;
  // From the offer to its expiry, and how far clocks may err.
  absl::Duration maximum_lifetime = absl::Minutes(30);
  absl::Duration clock_tolerance = absl::Minutes(5);
};

// What the device gives, and what it was trained from.
struct ClientUpdate {
  std::string id;  // the assignment's; names the update in the journal
  Digest task;     // as in WitnessStatement
  Digest package;
  uint64_t base_version = 0;
  // SHA-256 of the payload of the base version's signed VersionStatement.
  Digest base_version_entry;
  // Quantized coordinates, then scalars, as the task lays them out.
  std::vector<ModularVector> sections;
};

// Effects.
struct SendToServer {
  v1::SecaggDeviceMessage message;
};
// To be on disk before OnPersisted(record). Replaces the task's journal.
struct PersistJournal {
  uint64_t record = 0;
  SecretBytes journal;
  enum class MaskedInput { kKeep, kStore, kErase };
  MaskedInput masked_input_action = MaskedInput::kKeep;
  std::shared_ptr<const std::string> masked_input;  // for kStore
};
// Resumable; the same content as often as it takes.
struct UploadMaskedInput {
  Digest session;
  Digest content_sha256;
  std::shared_ptr<const std::string> bytes;
};
// Call OnTimer then; replaces the last one.
struct WakeClientAt {
  absl::Time time;
};
// The last effect. The journal is without secrets by then.
struct ClientFinished {
  enum class Outcome {
    kCounted,     // the coordinator says that the update is in a sum
    kNotCounted,  // there is a sum without it
    kAborted,     // the coordinator gave up
    kLeft,        // this device did; `reason` says why
  };
  Outcome outcome = Outcome::kLeft;
  absl::Status reason;
  // The masked input may have left the device: the update is used up, whatever
  // the outcome.
  bool update_spent = false;
};
using ClientEffect =
    std::variant<SendToServer, PersistJournal, UploadMaskedInput, WakeClientAt,
                 ClientFinished>;
using ClientEffects = std::vector<ClientEffect>;

// Legal order: Create, Start, then any number of events. An event that comes
// when it should not ends the session on this side (kLeft); it never ends the
// process.
class SecaggClient {
 public:
  struct Dependencies {  // all must outlive the client
    const MemberSigner* signer = nullptr;
    MemberVerifier* members = nullptr;
    SecretRandom* random = nullptr;
    // The registrar's, pinned in the device's configuration.
    std::optional<WitnessPublicKey> registrar;
    const SessionCryptography* cryptography = &SessionCryptography::Default();
  };

  // `journal`: what was persisted last for this task, empty if nothing;
  // `masked_input`: what was stored with it, if it is still there.
  // FAILED_PRECONDITION: the update was spent in an earlier session, which
  // cannot go on. DATA_LOSS: a journal that cannot be read.
  // INVALID_ARGUMENT: an update without id (of at most 256 bytes) or sections.
  static absl::StatusOr<std::unique_ptr<SecaggClient>> Create(
      ClientPolicy policy, ClientUpdate update, Dependencies dependencies,
      std::string_view journal,
      std::shared_ptr<const std::string> masked_input);
  ~SecaggClient();

  // Once, first. Goes on with a session whose masked input is in the journal.
  ClientEffects Start(absl::Time now);
  ClientEffects OnMessage(absl::Time now,
                          const v1::SecaggServerMessage& message);
  ClientEffects OnPersisted(absl::Time now, uint64_t record);
  ClientEffects OnTimer(absl::Time now);
  // Training or the network gave up.
  ClientEffects Leave(absl::Time now, absl::Status reason);

  bool finished() const { return state_ == State::kFinished; }
  bool update_spent() const { return update_spent_; }
  // Of the newest session of this task that this device has joined; 0: none.
  uint64_t session_number() const { return journal_.session_number(); }
  // Boxes of this session that did not open: their senders are at fault, or
  // whoever delivered them.
  int64_t boxes_refused() const { return boxes_refused_; }

 private:
  enum class State {
    kWaitingForOffer,
    kJoining,     // journalling that it joins
    kAdvertised,  // waiting for the directory
    kShared,      // waiting for boxes
    kMasking,     // journalling the masked input
    kUploaded,    // waiting for the sets
    kSigning,     // journalling the sets
    kSigned,      // waiting for signatures
    kReleasing,   // journalling the unmasking shares
    kUnmasked,    // waiting for the outcome
    kFinished,
  };
  struct Session;
  struct Neighbor;
  struct Answered {
    Digest message;
    std::optional<v1::SecaggDeviceMessage> reply;
  };

  SecaggClient(ClientPolicy policy, ClientUpdate update,
               Dependencies dependencies);

  // The rounds. An error makes the device leave the session.
  absl::Status OnOffer(absl::Time now, const v1::SecaggOfferMessage& message);
  absl::Status Advertise();
  absl::Status OnDirectory(absl::Time now,
                           const v1::SecaggDirectoryMessage& message);
  absl::Status CheckDirectory(absl::Time now);
  absl::StatusOr<std::vector<NeighborKeys>> ReadLeaves(
      absl::Time now, const v1::SecaggDirectoryMessage& message);
  // Whether the directory has that leaf at that place.
  absl::Status CheckPath(uint32_t cohort_index, const MerkleLeaf& leaf,
                         std::string_view path) const;
  absl::Status ShareKeys(std::vector<NeighborKeys> neighbors);
  absl::Status OnBoxes(const v1::SecaggBoxesMessage& message);
  void OpenBox(size_t neighbor, std::string_view box);
  absl::Status MaskInput();
  absl::Status OnSets(const v1::SecaggSetsMessage& message);
  // Whether the registrar's statement is about exactly the session's sets.
  absl::Status CheckSetsWitness() const;
  void SignSets();
  absl::Status OnSignatures(const v1::SecaggSignaturesMessage& message);
  absl::Status ReleaseShares();
  absl::Status OnOutcome(const v1::SecaggOutcome& message);

  absl::Status Dispatch(absl::Time now, const v1::SecaggServerMessage& message);
  absl::Status CheckSession(std::string_view session) const;
  // A message of a kind that was answered: the same answer, or an error.
  absl::Status Repeat(const v1::SecaggServerMessage& message,
                      const Answered& answered);
  // The same after a restart, when only the journal says what was answered.
  absl::StatusOr<bool> RepeatAfterRestart(
      const v1::SecaggServerMessage& message);
  void SendUpload();
  void WakeAtExpiry();
  void Send(v1::SecaggDeviceMessage message);
  void Persist(PersistJournal::MaskedInput action);
  void Finish(ClientFinished::Outcome outcome, absl::Status reason);
  // From now on the masked input may leave the device.
  void RememberSpent();
  SecretBytes SerializeJournal() const;
  absl::Status RestoreSession(absl::Time now);
  // Of what was read from the disk, with the shares in it.
  void EraseJournaledSession();
  ClientEffects TakeEffects();

  const ClientPolicy policy_;
  ClientUpdate update_;
  const Dependencies dependencies_;

  State state_ = State::kWaitingForOffer;
  std::unique_ptr<Session> session_;  // erased with its keys at the end
  v1::SecaggJournal journal_;
  std::shared_ptr<const std::string> masked_input_;
  bool update_spent_ = false;
  int64_t boxes_refused_ = 0;
  uint64_t last_record_ = 0;
  // What was answered, by kind of message: a repetition gets the same answer,
  // anything else of the same kind ends the session.
  std::map<int, Answered> answered_;
  int answering_ = 0;
  bool restarted_ = false;
  ClientEffects effects_;
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_CLIENT_H_
