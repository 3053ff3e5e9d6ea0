#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mledge/aggregation/secagg/client.h"
#include "mledge/aggregation/secagg/server.h"
#include "mledge/aggregation/secagg/unauthenticated.h"
#include "mledge/core/logging.h"
#include "mledge/identity/witness_key.h"

// A session of four devices in which one message, to a device or to the server,
// is replaced or edited: byte 0 says which, byte 1 how; the rest is the new
// message, or positions (two bytes) with the byte to put there. Nobody may end
// the process, and a sum that comes out is the right one.

namespace mledge::secagg {
namespace {

constexpr uint32_t kDevices = 4;

class CountingRandom final : public SecretRandom {
 public:
  void Fill(std::span<uint8_t> out) override {
    for (uint8_t& byte : out) {
      state_ = state_ * 6364136223846793005 + 1442695040888963407;
      byte = static_cast<uint8_t>(state_ >> 56);
    }
  }

 private:
  uint64_t state_ = 1;
};

struct Session {
  const absl::Time now = absl::FromUnixSeconds(1767225600);
  CountingRandom random;
  WitnessKey registrar = WitnessKey::Generate(random);
  UnauthenticatedMembers members;
  std::vector<UnauthenticatedSigner> signers;
  std::vector<std::unique_ptr<SecaggClient>> clients;
  std::unique_ptr<SecaggServer> server;
  std::deque<std::function<void()>> events;
  absl::Time wake;
  std::vector<GroupFinished> finished;

  // What the fuzzer changes.
  int passed = 0;
  int target = 0;
  bool edit = false;
  std::string_view payload;
  bool input_changed = false;

  Offer MakeOffer() {
    v1::SecaggOffer offer;
    offer.set_protocol_version(1);
    offer.set_agreement_suite(1);
    offer.set_cipher_suite(1);
    offer.set_session_number(1);
    const Digest task = Sha256Of("task");
    offer.set_task_sha256(task.ToBytes());
    offer.set_package_sha256(task.ToBytes());
    VersionLogHead head;
    head.task = task;
    head.length = 1;
    head.head = ExtendVersionLog(task, 0, EmptyVersionLog(task), task);
    head.time = now;
    head.Sign(registrar);
    *offer.mutable_version_log() = head.ToProto();
    offer.set_head_before_entries(EmptyVersionLog(task).ToBytes());
    offer.add_entries(task.ToBytes());
    offer.set_least_devices(3);
    offer.set_least_alive(2);
    offer.add_sections()->set_length(11);
    offer.mutable_sections(0)->set_modulus_bits(20);
    offer.set_expires_unix_milliseconds(
        absl::ToUnixMillis(now + absl::Minutes(20)));
    offer.set_nonce(task.ToBytes());
    return *Offer::Make(offer);
  }

  // The bytes of message number `target` are changed on their way.
  std::string Pass(std::string bytes) {
    if (passed++ != target) return bytes;
    if (!edit) return std::string(payload);
    for (size_t i = 0; i + 2 < payload.size() && !bytes.empty(); i += 3) {
      const size_t position = static_cast<uint8_t>(payload[i]) * size_t{256} +
                              static_cast<uint8_t>(payload[i + 1]);
      bytes[position % bytes.size()] = payload[i + 2];
    }
    return bytes;
  }

  void Handle(uint32_t i, ClientEffects effects) {
    for (ClientEffect& effect : effects) {
      if (auto* send = std::get_if<SendToServer>(&effect)) {
        const std::string bytes = Pass(send->message.SerializeAsString());
        events.push_back([this, i, bytes] {
          v1::SecaggDeviceMessage message;
          if (!message.ParseFromString(bytes)) return;
          Handle(server->OnMessage(now, DeviceId(signers[i].id()), message)
                     .effects);
        });
      } else if (auto* persist = std::get_if<PersistJournal>(&effect)) {
        events.push_back([this, i, record = persist->record] {
          Handle(i, clients[i]->OnPersisted(now, record));
        });
      } else if (auto* upload = std::get_if<UploadMaskedInput>(&effect)) {
        std::string bytes = Pass(*upload->bytes);
        input_changed |= bytes != *upload->bytes;
        events.push_back([this, i, sent = *upload, bytes = std::move(bytes)] {
          Handle(server
                     ->OnMaskedInput(now, DeviceId(signers[i].id()),
                                     sent.session, Sha256Of(bytes), bytes)
                     .effects);
        });
      }
    }
  }

  void Handle(ServerEffects effects) {
    for (ServerEffect& effect : effects) {
      if (auto* send = std::get_if<SendToDevices>(&effect)) {
        for (const DeviceId& id : send->devices) {
          const uint32_t i = id.value().back() - '0';
          const std::string bytes = Pass(send->message->SerializeAsString());
          events.push_back([this, i, bytes] {
            v1::SecaggServerMessage message;
            if (!message.ParseFromString(bytes)) return;
            Handle(i, clients[i]->OnMessage(now, message));
          });
        }
      } else if (auto* request = std::get_if<RequestWitness>(&effect)) {
        WitnessStatement statement{.task = request->task,
                                   .session_number = request->session_number,
                                   .directory = request->directory,
                                   .time = now};
        statement.Sign(registrar);
        events.push_back(
            [this, statement] { Handle(server->OnWitnessed(now, statement)); });
      } else if (auto* sets = std::get_if<RequestSetsWitness>(&effect)) {
        SetsStatement statement{.task = sets->task,
                                .session_number = sets->session_number,
                                .group = sets->group,
                                .session = sets->session,
                                .sets = sets->sets,
                                .time = now};
        statement.Sign(registrar);
        events.push_back([this, statement] {
          Handle(server->OnSetsWitnessed(now, statement.group, statement));
        });
      } else if (auto* approve = std::get_if<ApproveUnmask>(&effect)) {
        Handle(server->OnUnmaskApproved(now, approve->group, absl::OkStatus()));
      } else if (auto* done = std::get_if<GroupFinished>(&effect)) {
        finished.push_back(std::move(*done));
        Handle(server->OnCheckpointed(now, finished.back().group));
      } else if (auto* at = std::get_if<WakeServerAt>(&effect)) {
        wake = at->time;
      }
    }
  }

  void Run() {
    const Offer offer = MakeOffer();
    ServerOptions options;
    options.fixed_neighbors = kDevices - 1;
    options.fixed_threshold = 2;
    options.dropout_fraction = 0.3;
    options.maximum_devices = kDevices;
    server = *SecaggServer::Create(options, offer, {&members, nullptr});
    ClientPolicy policy;
    policy.session = {.corrupt_fraction = 0,
                      .threat_model = ThreatModel::kSemiHonest,
                      .least_clients = 3,
                      .least_alive = 2};
    for (uint32_t i = 0; i < kDevices; ++i) {
      signers.emplace_back("device-" + std::to_string(i));
    }
    Handle(server->Start(now));
    for (uint32_t i = 0; i < kDevices; ++i) {
      ClientUpdate update;
      update.id = "update";
      update.task = offer.task;
      update.package = offer.package;
      update.base_version_entry = offer.entries[0];
      auto section = *ModularVector::Create(offer.sections[0].modulus, 11);
      for (int64_t j = 0; j < 11; ++j) section.Set(j, i + 1);
      update.sections.push_back(std::move(section));
      clients.push_back(*SecaggClient::Create(
          policy, std::move(update),
          {&signers[i], &members, &random, registrar.public_key()}, "",
          nullptr));
      Handle(i, clients[i]->Start(now));
      Handle(server->OnConnected(now, DeviceId(signers[i].id())).effects);
    }
    for (int rounds = 0; rounds < 20 && !server->finished(); ++rounds) {
      while (!events.empty()) {
        const auto event = std::move(events.front());
        events.pop_front();
        event();
      }
      Handle(server->OnTimer(wake));
    }
    CHECK(server->finished());
    // Nothing was changed.
    CHECK(passed > target || finished.size() == 1);
    // A masked input that was changed adds what it likes to each coordinate;
    // a sum without such a change is exact.
    for (const GroupFinished& group : finished) {
      uint32_t expected = 0;
      for (const DeviceId& id : group.counted) {
        expected += id.value().back() - '0' + 1;
      }
      if (!input_changed) {
        for (int64_t j = 0; j < 11; ++j) {
          CHECK(group.sum[0].residue(j) == expected);
        }
      }
    }
  }
};

}  // namespace
}  // namespace mledge::secagg

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  mledge::secagg::Session session;
  session.signers.reserve(mledge::secagg::kDevices);
  session.target = data[0] % 64;
  session.edit = data[1] % 2 == 1;
  session.payload = {reinterpret_cast<const char*>(data) + 2, size - 2};
  session.Run();
  return 0;
}
