#ifndef MLEDGE_TESTS_AGGREGATION_SECAGG_SESSION_WORLD_H_
#define MLEDGE_TESTS_AGGREGATION_SECAGG_SESSION_WORLD_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mledge/aggregation/secagg/client.h"
#include "mledge/aggregation/secagg/internal/server_group.h"
#include "mledge/aggregation/secagg/server.h"
#include "mledge/aggregation/secagg/unauthenticated.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/strings.h"
#include "mledge/core/training_random.h"
#include "mledge/identity/witness_key.h"
#include "mledge/tests/support/test_pki.h"

// A whole session in one process: server, registrar's key and devices, with
// virtual time, every message serialized and parsed, devices that stop at a
// given step, and hooks with which a test lies for any of them.
//
//   SessionWorld world({.devices = 20});
//   world.device(3).stops_before = Step::kMaskedInput;
//   world.Run();
//   world.ExpectExactSum();

namespace mledge::secagg {

// What a device does not do any more.
enum class Step {
  kAdvertise,
  kShareKeys,
  kMaskedInput,
  kSignSets,
  kUnmask,
  kNever,
};

struct WorldOptions {
  int devices = 20;
  double corrupt_fraction = 0.1;
  double dropout_fraction = 0.1;
  ThreatModel threat_model = ThreatModel::kSemiMalicious;
  GraphKind graph = GraphKind::kFull;
  int64_t least_devices = 3;
  int64_t least_alive = 2;
  int64_t largest_group = 0;
  int64_t fixed_neighbors = 0;
  int64_t fixed_threshold = 0;
  std::vector<std::pair<int64_t, int>> sections = {{100, 20}, {5, 32}};
  bool identities = true;
  uint64_t seed = 1;
  uint64_t session_number = 7;
  ThreadPool* pool = nullptr;
};

// Believes every leaf and counts every signature: what a lying server does.
class BelievesEverybody final : public MemberVerifier {
 public:
  absl::StatusOr<MemberIdentity> Identify(
      std::span<const std::string> certificates, absl::Time) override {
    const auto certificate = Certificate::FromDer(certificates[0]);
    return MemberIdentity{
        certificate.ok() ? certificate->identity()->id : certificates[0],
        std::nullopt};
  }
  absl::Status CheckSignature(const MemberIdentity&, std::string_view,
                              std::string_view) override {
    return absl::OkStatus();
  }
};

// Names in place of certificates, for sessions of a thousand: a signature is a
// hash that only its owner makes, because nobody else in a world does.
class NamedMembers final : public MemberVerifier {
 public:
  absl::StatusOr<MemberIdentity> Identify(
      std::span<const std::string> certificates, absl::Time now) override {
    return names_.Identify(certificates, now);
  }
  absl::Status CheckSignature(const MemberIdentity& member,
                              std::string_view message,
                              std::string_view signature) override {
    return SignatureOf(member.id, message) == signature
               ? absl::OkStatus()
               : absl::PermissionDeniedError(
                     StrCat("not signed by ", member.id));
  }
  static std::string SignatureOf(std::string_view id,
                                 std::string_view message) {
    return Sha256().UpdateField(id).UpdateField(message).Finish().ToBytes();
  }

 private:
  UnauthenticatedMembers names_;
};

class NamedSigner final : public MemberSigner {
 public:
  explicit NamedSigner(std::string id)
      : id_(std::move(id)), certificates_({id_}) {}
  const std::string& id() const override { return id_; }
  const std::vector<std::string>& certificates() const override {
    return certificates_;
  }
  std::string Sign(std::string_view message) const override {
    return NamedMembers::SignatureOf(id_, message);
  }

 private:
  const std::string id_;
  const std::vector<std::string> certificates_;
};

struct WorldDevice {
  std::string id;
  std::unique_ptr<MemberSigner> signer;
  // Where its keys come from; null: the system.
  std::unique_ptr<SecretRandom> random;
  std::unique_ptr<SecaggClient> client;
  std::vector<std::vector<uint32_t>> values;  // by section
  Step stops_before = Step::kNever;
  bool stopped = false;
  std::optional<ClientFinished> finished;
  // The device's disk.
  std::string journal;
  std::shared_ptr<const std::string> masked_input;
  // What it sent, in order, and its uploads.
  std::vector<v1::SecaggDeviceMessage> sent;
  std::vector<UploadMaskedInput> uploads;
};

class SessionWorld {
 public:
  explicit SessionWorld(WorldOptions options);
  ~SessionWorld();

  // Everything until nothing is left to do.
  void Run();

  WorldDevice& device(int i) { return devices_[i]; }
  WorldDevice* Find(const std::string& id);
  int size() const { return static_cast<int>(devices_.size()); }
  SecaggServer& server() { return *server_; }
  absl::Time now() const { return now_; }
  const TestPki& pki() const { return pki_; }
  const WitnessKey& registrar() const { return registrar_; }
  const Offer& offer() const { return server_->offer(); }

  // Lies. A hook may change what passes; false: it is lost. Set before Run.
  std::function<bool(WorldDevice& to, v1::SecaggServerMessage&)> to_device;
  std::function<bool(WorldDevice& from, v1::SecaggDeviceMessage&)> to_server;
  std::function<bool(WorldDevice& from, std::string& bytes)> upload;
  std::function<void(WitnessStatement&)> witness;
  std::function<void(absl::StatusOr<SetsStatement>&)> sets_witness;
  bool sets_witness_answers = true;

  // What devices are made of; change and call MakeClient (or let Run do it).
  ClientPolicy policy;
  ClientUpdate UpdateOf(const WorldDevice& device) const;
  absl::Status MakeClient(WorldDevice& device);
  // The process ends and starts again with what is on its disk.
  absl::Status Restart(WorldDevice& device);
  void UseRevocationList(v1::RevocationList list,
                         absl::Duration age = absl::ZeroDuration());
  // The server does not check who its members are.
  void ServerBelievesEverybody();
  void Handle(WorldDevice& device, ClientEffects effects);
  void Deliver(WorldDevice& device, const v1::SecaggServerMessage& message);
  void Handle(ServerEffects effects);

  std::vector<GroupFinished> finished;
  std::vector<GroupAborted> aborted;
  // What the server said of messages that it refused: device and status.
  std::vector<std::pair<std::string, absl::Status>> refused;
  v1::SecaggOffer offer_message;
  WorldOptions options;

  // The sum of each finished group is that of its counted devices.
  void ExpectExactSum();
  // Those whose masked input arrived in time.
  int64_t CountOf(ClientFinished::Outcome outcome) const;

 private:
  struct Event {
    std::function<void()> run;
  };
  void MakeServer();
  void Pump();
  void HandleOne(WorldDevice& device, ClientEffect& effect);
  bool StopsAt(WorldDevice& device, Step step);

  absl::Time now_;
  TestPki pki_;
  SystemSecretRandom random_;
  WitnessKey registrar_;
  std::unique_ptr<MemberVerifier> members_;
  std::unique_ptr<MemberVerifier> server_members_;
  std::unique_ptr<SecaggServer> server_;
  std::deque<WorldDevice> devices_;
  std::deque<Event> events_;
  absl::Time server_wakes_ = absl::InfiniteFuture();
  bool started_ = false;
};

}  // namespace mledge::secagg

#endif  // MLEDGE_TESTS_AGGREGATION_SECAGG_SESSION_WORLD_H_
