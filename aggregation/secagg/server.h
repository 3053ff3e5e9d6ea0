#ifndef MLEDGE_AGGREGATION_SECAGG_SERVER_H_
#define MLEDGE_AGGREGATION_SECAGG_SERVER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/aggregation/secagg/directory.h"
#include "mledge/aggregation/secagg/membership.h"
#include "mledge/aggregation/secagg/merkle.h"
#include "mledge/aggregation/secagg/modular.h"
#include "mledge/aggregation/secagg/offer.h"
#include "mledge/aggregation/secagg/parameters.h"
#include "mledge/aggregation/secagg/session_cryptography.h"
#include "mledge/core/executor.h"
#include "mledge/core/ids.h"
#include "mledge/identity/witness.h"
#include "mledge/v1/secure_aggregation.pb.h"

// The coordinator's end of a session of secure aggregation: from an offer to
// the sum of the devices that stayed, or to a clean end that says who was lost
// where. The rounds are in round_N_…_server.cc; from round 3 on each group of
// the cohort is on its own (internal/server_group.h).
//
// Sans-I/O: each call takes the time and one event and returns what to do, in
// that order. Arithmetic over whole vectors runs inside the call, on the pool.
// Not thread-safe.

namespace mledge::secagg {

struct ServerOptions {
  double corrupt_fraction = 0.1;
  double dropout_fraction = 0.1;
  int sigma = 40;
  int eta = 30;
  ThreatModel threat_model = ThreatModel::kSemiMalicious;
  LossChoice losses = LossChoice::kAdversarial;
  GraphKind graph = GraphKind::kAuto;
  // What the registrar allows this task.
  int64_t registrar_sessions_per_day = 1000;
  // In place of what the finder says, for measurements; 0: the finder.
  int64_t fixed_neighbors = 0;
  int64_t fixed_threshold = 0;
  // Advertising closes when so many have advertised, or by its deadline.
  int64_t maximum_devices = 0;
  // A larger cohort is divided into groups of at most this size. 0: one group.
  int64_t largest_group = 0;

  absl::Duration advertise_time = absl::Minutes(2);
  absl::Duration share_time = absl::Seconds(60);
  absl::Duration masked_input_time = absl::Minutes(3);
  absl::Duration consistency_time = absl::Seconds(60);
  absl::Duration unmask_time = absl::Seconds(60);
};

enum class Round {
  kAdvertise = 1,
  kDirectory = 2,
  kShareKeys = 3,
  kMaskedInput = 4,
  kConsistency = 5,
  kUnmask = 6,
};
std::string_view ToString(Round round);

struct LostDevice {
  DeviceId device;
  Round round;  // what it did not do
  std::string reason;
};

// What work was done, for people and for benches.
struct ServerCounters {
  int64_t key_agreements = 0;
  int64_t keystream_bytes = 0;
  // Shares that were found not to fit the seed that the others gave. Those of a
  // device that gave one are asked last from then on, so there may be more.
  int64_t wrong_shares = 0;
  // Seeds that took more than the first shares tried: far dearer than others.
  int64_t seeds_decoded = 0;
};

// Effects.
struct SendToDevices {
  std::vector<DeviceId> devices;
  // The same for all of them. Null: each is sent one of its own, which
  // SecaggServer::MessageFor makes when it is asked to, so that messages as
  // large as a neighbourhood are not all there at once.
  std::shared_ptr<const v1::SecaggServerMessage> message;
};
// Ask the registrar; the answer goes to OnWitnessed.
struct RequestWitness {
  Digest task;
  uint64_t session_number = 0;
  Digest directory;
};
// Who is alive and who is dead in a group is fixed. Ask the registrar, which
// signs one such `sets` for each group of a session; the answer goes to
// OnSetsWitnessed.
struct RequestSetsWitness {
  Digest task;
  uint64_t session_number = 0;
  uint32_t group = 0;
  Digest session;
  Digest sets;
};
// Everybody who will be in the sum is known. What must be on disk before the
// first unmasking (a privacy charge) is put there now; then OnUnmaskApproved.
struct ApproveUnmask {
  uint32_t group = 0;
  std::vector<DeviceId> devices;
};
struct WakeServerAt {
  absl::Time time;
};
// To be made durable; then OnCheckpointed tells the devices.
struct GroupFinished {
  uint32_t group = 0;
  std::vector<ModularVector> sum;  // by section
  std::vector<DeviceId> counted;
  std::vector<LostDevice> lost;
  // Base version of each of `counted`.
  std::vector<uint64_t> base_versions;
  ServerCounters counters;
};
struct GroupAborted {
  uint32_t group = 0;  // 0 when the cohort came to nothing
  absl::Status reason;
  std::vector<LostDevice> lost;
};
using ServerEffect =
    std::variant<SendToDevices, RequestWitness, RequestSetsWitness,
                 ApproveUnmask, WakeServerAt, GroupFinished, GroupAborted>;
using ServerEffects = std::vector<ServerEffect>;

// What came of a device's message. `status` is about the sender: an error says
// what was wrong with it; the session goes on, without the device if it cannot
// be part of it any more.
struct ServerReaction {
  absl::Status status;
  ServerEffects effects;
};

class ServerGroup;

class SecaggServer {
 public:
  struct Dependencies {
    MemberVerifier* members = nullptr;  // must outlive the server
    ThreadPool* pool = nullptr;         // likewise; null: the calling thread
    const SessionCryptography* cryptography = &SessionCryptography::Default();
  };

  // INVALID_ARGUMENT: an option out of range, or an offer that contradicts
  // them. FAILED_PRECONDITION: no parameters are feasible for the largest
  // session that may come about.
  static absl::StatusOr<std::unique_ptr<SecaggServer>> Create(
      ServerOptions options, Offer offer, Dependencies dependencies);
  ~SecaggServer();

  ServerEffects Start(absl::Time now);
  // A device that holds a finished update is connected, for the first time or
  // again; it is sent what it waits for.
  ServerReaction OnConnected(absl::Time now, const DeviceId& device);
  // What `device`, one of the effect's, is sent. It overwrites `message`, whose
  // memory it uses again if there was such a message before. False: the session
  // went on since the effect, and the device waits for nothing. Several threads
  // may ask while no event is passed in.
  bool MessageFor(const SendToDevices& effect, const DeviceId& device,
                  v1::SecaggServerMessage& message) const;
  // `device`: what its TLS certificate says.
  ServerReaction OnMessage(absl::Time now, const DeviceId& device,
                           const v1::SecaggDeviceMessage& message);
  // A complete upload whose content hash was verified. The same content again
  // is a success. ALREADY_EXISTS: another masked input of that device.
  // FAILED_PRECONDITION: too late, or from nobody who may send one; it is to be
  // thrown away. INVALID_ARGUMENT: malformed.
  ServerReaction OnMaskedInput(absl::Time now, const DeviceId& device,
                               const Digest& session,
                               const Digest& content_sha256,
                               std::string_view bytes);
  ServerEffects OnWitnessed(absl::Time now,
                            absl::StatusOr<WitnessStatement> statement);
  // An error ends the group: without the registrar's word no device signs.
  ServerEffects OnSetsWitnessed(absl::Time now, uint32_t group,
                                absl::StatusOr<SetsStatement> statement);
  ServerEffects OnUnmaskApproved(absl::Time now, uint32_t group,
                                 absl::Status status);
  ServerEffects OnCheckpointed(absl::Time now, uint32_t group);
  ServerEffects OnTimer(absl::Time now);
  // Ends every group that has no sum yet.
  ServerEffects Abort(absl::Time now, absl::Status reason);

  // All groups have ended (or there never were any).
  bool finished() const;
  const Offer& offer() const { return offer_; }
  // Null before the directory is witnessed.
  const Directory* directory() const {
    return directory_.has_value() ? &*directory_ : nullptr;
  }
  // Null unless there is such a group.
  const ServerGroup* group(uint32_t group) const;

 private:
  enum class State { kAdvertising, kWitnessing, kRunning, kAborted };
  SecaggServer(ServerOptions options, Offer offer, Dependencies dependencies);

  absl::Status OnAdvertise(absl::Time now, const DeviceId& device,
                           const v1::SecaggAdvertise& message,
                           ServerEffects& effects);
  void CloseAdvertising(absl::Time now, ServerEffects& effects);
  // Checks the signatures of leaves that are in `unverified_`; the wrong ones
  // leave `advertised_`.
  void VerifyLeaves();
  absl::StatusOr<v1::SecaggDirectory> MakeDirectory();
  absl::StatusOr<GroupParameters> ParametersFor(uint32_t devices) const;
  // `book`: what round 2 shows to members. `drawn_from`: groups and graphs.
  absl::Status StartGroups(absl::Time now, std::shared_ptr<const void> book,
                           const std::string& drawn_from,
                           ServerEffects& effects);
  void AbortCohort(absl::Status reason, ServerEffects& effects);
  void Wake(ServerEffects& effects) const;
  ServerGroup* GroupOf(const DeviceId& device) const;

  const ServerOptions options_;
  const Offer offer_;
  const Dependencies dependencies_;
  State state_ = State::kAdvertising;
  absl::Time deadline_ = absl::InfiniteFuture();
  absl::flat_hash_set<DeviceId> connected_;
  // By id, which is the order of the directory.
  std::map<std::string, Leaf> advertised_;
  // Devices whose leaf is there, but was not yet compared with its signature:
  // signatures are verified together, on all threads of the pool.
  std::vector<MemberIdentity> unverified_;
  // Over the leaves; from the directory to the groups.
  std::optional<MerkleTree> tree_;
  // Before there were groups; by id, because who leaves may come back.
  std::map<std::string, LostDevice> lost_;
  std::optional<Directory> directory_;
  absl::flat_hash_map<DeviceId, uint32_t> group_of_;
  std::vector<std::unique_ptr<ServerGroup>> groups_;
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_SERVER_H_
