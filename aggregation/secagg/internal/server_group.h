#ifndef MLEDGE_AGGREGATION_SECAGG_INTERNAL_SERVER_GROUP_H_
#define MLEDGE_AGGREGATION_SECAGG_INTERNAL_SERVER_GROUP_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "mledge/aggregation/secagg/graph.h"
#include "mledge/aggregation/secagg/mask.h"
#include "mledge/aggregation/secagg/member_set.h"
#include "mledge/aggregation/secagg/server.h"
#include "mledge/aggregation/secagg/shamir.h"

// One session of the server: a group of the cohort from its shares to its sum.
// SecaggServer owns it and passes it the events of its members. Not
// thread-safe.

namespace mledge::secagg {

class ServerGroup {
 public:
  enum class State {
    kSharing,
    kMasking,
    kWitnessing,  // the registrar is asked to sign the sets
    kSigning,
    kApproving,  // the driver makes durable what must be before unmasking
    kUnmasking,
    kFinished,  // there is a sum; waiting for its checkpoint
    kCheckpointed,
    kAborted,
  };

  struct Setup {
    const ServerOptions* options = nullptr;
    const Offer* offer = nullptr;
    ThreadPool* pool = nullptr;
    bool inputs_are_masked = true;
    uint32_t group = 0;
    GroupParameters parameters;
    Digest session;
    std::optional<NeighborGraph> graph;
    std::vector<DeviceId> devices;  // of each member
    std::vector<Leaf> leaves;
    // What all members are sent at the start; where it is not the same, null,
    // and `show_directory` writes the one of a member.
    std::shared_ptr<const v1::SecaggServerMessage> directory;
    std::function<void(uint32_t member, const std::vector<uint32_t>& neighbors,
                       v1::SecaggDirectoryMessage&)>
        show_directory;
  };

  explicit ServerGroup(Setup setup);

  void Start(absl::Time now, ServerEffects& effects);
  void OnConnected(const DeviceId& device, ServerEffects& effects);
  // As SecaggServer's.
  bool MessageFor(const DeviceId& device,
                  v1::SecaggServerMessage& message) const;
  // An error is about the sender, which is lost where it could not go on.
  absl::Status OnMessage(absl::Time now, const DeviceId& device,
                         const v1::SecaggDeviceMessage& message,
                         ServerEffects& effects);
  absl::Status OnMaskedInput(absl::Time now, const DeviceId& device,
                             const Digest& content_sha256,
                             std::string_view bytes, ServerEffects& effects);
  void OnSetsWitnessed(absl::Time now, absl::StatusOr<SetsStatement> statement,
                       ServerEffects& effects);
  void OnUnmaskApproved(absl::Time now, const absl::Status& status,
                        ServerEffects& effects);
  void OnCheckpointed(ServerEffects& effects);
  void OnTimer(absl::Time now, ServerEffects& effects);
  void Abort(absl::Status reason, ServerEffects& effects);

  State state() const { return state_; }
  bool ended() const {
    return state_ == State::kCheckpointed || state_ == State::kAborted;
  }
  absl::Time deadline() const { return deadline_; }
  const Digest& session() const { return setup_.session; }
  const GroupParameters& parameters() const { return setup_.parameters; }
  const std::vector<LostDevice>& lost() const { return lost_; }
  const NeighborGraph& graph() const { return *setup_.graph; }
  const std::vector<DeviceId>& devices() const { return setup_.devices; }

 private:
  struct Member {
    std::vector<uint32_t> neighbors;  // ascending
    bool lost = false;
    bool shared = false;
    // For its neighbours, in their order, one after the other; until forwarded.
    std::string boxes;
    std::optional<Digest> masked_input;
    std::optional<std::string> signature;
    bool unmasked = false;
    // What its neighbours gave for it, in their order, of the one kind that it
    // needs. Empty before there is one.
    std::vector<std::optional<ShareValue>> shares;
  };

  // Of one member: the masks to take away again, by section.
  struct Removals {
    absl::Status status;
    std::vector<std::vector<SignedMask>> masks;
    std::vector<ShareIndex> wrong;
    int64_t key_agreements = 0;
    bool decoded = false;
  };

  absl::Status OnShareBoxes(uint32_t member,
                            const v1::SecaggShareBoxes& message);
  absl::Status OnSignature(uint32_t member,
                           const v1::SecaggSetsSignature& message);
  absl::Status OnUnmask(uint32_t member, const v1::SecaggUnmask& message);
  absl::Status CheckMaskedInput(std::string_view bytes) const;
  void Fold(std::string_view bytes);

  // Ends a round once everybody answered, or at its deadline.
  void Advance(absl::Time now, bool deadline_passed, ServerEffects& effects);
  bool WaitsFor(uint32_t member) const;
  // For anybody, in the present state.
  bool Waiting();
  void CloseSharing(absl::Time now, ServerEffects& effects);
  void CloseMasking(absl::Time now, ServerEffects& effects);
  void CloseSigning(ServerEffects& effects);
  void CloseUnmasking(ServerEffects& effects);
  absl::Status CheckRecoverable(bool signed_only) const;
  absl::Status CheckShares() const;
  absl::Status RemoveMasks();
  // These are thread-safe for different members. `weights` are those of the
  // member before, if there was one.
  Removals MasksOf(uint32_t member, const PointInverses& inverses,
                   std::optional<LagrangeWeights>& weights);
  absl::StatusOr<MaskSeed> RebuildSeed(
      uint32_t member, const PointInverses& inverses,
      std::optional<LagrangeWeights>& weights,
      const std::function<bool(const MaskSeed&)>& is_right, Removals& removals);
  absl::Status FitWeights(const Member& member, const PointInverses& inverses,
                          std::optional<LagrangeWeights>& weights) const;
  // Each writes over what the message holds.
  void WriteBoxes(uint32_t member, v1::SecaggBoxesMessage& message) const;
  void WriteSignatures(uint32_t member,
                       v1::SecaggSignaturesMessage& message) const;
  void WriteSets(v1::SecaggSetsMessage& message) const;
  void WriteOutcome(uint32_t member, v1::SecaggOutcome& message) const;
  // The kind of message that the device waits for, or MESSAGE_NOT_SET.
  v1::SecaggServerMessage::MessageCase Pending(uint32_t member) const;
  void Lose(uint32_t member, Round round, std::string reason);
  absl::Status CheckSession(std::string_view session) const;
  Round CurrentRound() const;

  Setup setup_;
  std::vector<Member> members_;
  absl::flat_hash_map<DeviceId, uint32_t> member_of_;
  State state_ = State::kSharing;
  absl::Time deadline_ = absl::InfiniteFuture();
  // In `asked_state_` the members below `answered_` are not waited for any
  // more.
  State asked_state_ = State::kSharing;
  uint32_t answered_ = 0;
  std::vector<ModularVector> sum_;  // masked until the end
  MemberSet alive_;
  MemberSet dead_;
  std::optional<SetsStatement> sets_witness_;
  std::vector<LostDevice> lost_;
  ServerCounters counters_;
  // Of each member, whether it gave a wrong share: one liar must not make every
  // seed of its neighbours dear. Threads that unmask share it.
  std::vector<std::atomic<bool>> liars_;
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_INTERNAL_SERVER_GROUP_H_
