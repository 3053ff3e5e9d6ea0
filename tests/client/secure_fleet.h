#ifndef MLEDGE_TESTS_CLIENT_SECURE_FLEET_H_
#define MLEDGE_TESTS_CLIENT_SECURE_FLEET_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "mledge/aggregation/secagg/server.h"
#include "mledge/aggregation/secagg/update_codec.h"
#include "mledge/client/memory_device_storage.h"
#include "mledge/client/secure_participation.h"
#include "mledge/identity/witness_key.h"
#include "mledge/tests/client/session_world.h"

// A fleet of SecureParticipations against a SecaggServer, in one process and on
// virtual time: what a coordinator does around sessions is here in its simplest
// form, so that a test can cut streams, kill devices and lie at any point.

namespace mledge {

// Where a test can make something happen: after so many effects of a device.
struct FleetDevice {
  int index = 0;
  std::string id;
  v1::Assignment assignment;
  std::shared_ptr<const Update> update;
  std::unique_ptr<secagg::MemberSigner> signer;
  std::unique_ptr<MemberRegistry> members;
  // The disk.
  std::unique_ptr<MemoryDeviceStorage> storage;
  std::unique_ptr<SecureParticipation> participation;
  // Goes up when the process ends: what was meant for the old one is dropped.
  int life = 0;
  std::optional<CallId> stream;
  int effects = 0;
  int streams = 0;
  std::optional<absl::StatusOr<SecureOutcome>> outcome;
  std::vector<std::string> notices;
  // Masked inputs that left it: session and content.
  std::map<std::string, std::string> masked;
  std::vector<v1::SecaggDeviceMessage> sent;
};

class SecureFleet {
 public:
  explicit SecureFleet(int devices = 20);

  // Everything until nobody has anything left to do, at most so long.
  void Run(absl::Duration limit = absl::Hours(1));
  void Begin();  // the server's first session, and all devices

  void StartDevice(FleetDevice& device);
  // The process ends; what is on its disk stays.
  void Kill(FleetDevice& device);
  void BreakStream(FleetDevice& device,
                   absl::Status why = absl::UnavailableError("cut"));
  // Ends the session under way and begins the next one.
  void AbortSession();
  void Deliver(FleetDevice& device, v1::SecureAggregationResponse message);
  void After(absl::Duration pause, std::function<void()> event);
  v1::SignedMessage RevocationList(uint64_t number,
                                   absl::Duration age = absl::ZeroDuration());

  // The sum is that of the devices that it counts, and of no others.
  void ExpectExactSum();
  // Each says of itself what the server says of it.
  void ExpectHonestOutcomes();
  // No update left its device under two masks.
  void ExpectNothingLeftTwice();
  bool Counted(const FleetDevice& device) const;

  SessionWorld world;
  absl::Time now;
  std::deque<FleetDevice> devices;
  std::unique_ptr<secagg::SecaggServer> server;
  std::vector<secagg::GroupFinished> finished;
  int sessions = 0;
  SecureParticipation::Options options;

  // Hooks. After each effect of a device, once it is carried out.
  std::function<void(FleetDevice&, const SecureEffect&)> after_effect;
  // False: the message is lost.
  std::function<bool(FleetDevice&, v1::SecureAggregationResponse&)> to_device;
  // In place of the server's answer to an upload.
  std::function<std::optional<absl::StatusOr<v1::UploadResult>>(FleetDevice&)>
      upload_answer;
  std::function<absl::Status(FleetDevice&)> on_save;
  // What comes first on a stream; none: nothing.
  std::function<std::optional<v1::SignedMessage>(FleetDevice&)> first_list;

 private:
  void MakeServer();
  void Apply(FleetDevice& device, SecureEffects effects);
  void Do(FleetDevice& device, SecureEffect& effect);
  void Handle(secagg::ServerEffects effects);
  void Connected(FleetDevice& device, CallId stream);
  absl::StatusOr<v1::UploadResult> TakeUpload(FleetDevice& device,
                                              const UploadMasked& upload);
  void TellTheRest();

  SystemSecretRandom random_;
  const WitnessKey registrar_;
  std::unique_ptr<MemberRegistry> server_members_;
  std::optional<secagg::UpdateCodec> codec_;
  std::multimap<absl::Time, std::function<void()>> events_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_CLIENT_SECURE_FLEET_H_
