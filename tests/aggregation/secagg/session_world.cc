#include "mledge/tests/aggregation/secagg/session_world.h"

#include <gtest/gtest.h>

#include <utility>

#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

std::string Name(int i) {
  std::string digits = std::to_string(i);
  return "device-" + std::string(5 - digits.size(), '0') + digits;
}

template <typename Message>
Message Travel(const Message& message) {
  Message arrived;
  EXPECT_TRUE(arrived.ParseFromString(message.SerializeAsString()));
  return arrived;
}

v1::SecaggOffer MakeOffer(const WorldOptions& options, const WitnessKey& key,
                          absl::Time now) {
  v1::SecaggOffer offer;
  offer.set_protocol_version(1);
  offer.set_agreement_suite(1);
  offer.set_cipher_suite(1);
  offer.set_session_number(options.session_number);
  const Digest task = Sha256Of("task");
  offer.set_task_sha256(task.ToBytes());
  offer.set_package_sha256(Sha256Of("package").ToBytes());
  VersionLogHead head;
  head.task = task;
  head.length = 1;
  head.head =
      ExtendVersionLog(task, 0, EmptyVersionLog(task), Sha256Of("version 0"));
  head.time = now;
  head.Sign(key);
  *offer.mutable_version_log() = head.ToProto();
  offer.set_head_before_entries(EmptyVersionLog(task).ToBytes());
  offer.add_entries(Sha256Of("version 0").ToBytes());
  offer.set_corrupt_ppm(static_cast<uint32_t>(options.corrupt_fraction * 1e6));
  offer.set_dropout_ppm(static_cast<uint32_t>(options.dropout_fraction * 1e6));
  offer.set_least_devices(static_cast<uint32_t>(options.least_devices));
  offer.set_least_alive(static_cast<uint32_t>(options.least_alive));
  for (const auto& [length, bits] : options.sections) {
    auto& section = *offer.add_sections();
    section.set_length(static_cast<uint64_t>(length));
    section.set_modulus_bits(static_cast<uint32_t>(bits));
  }
  offer.set_expires_unix_milliseconds(
      absl::ToUnixMillis(now + absl::Minutes(20)));
  offer.set_nonce(Sha256Of("nonce").ToBytes());
  return offer;
}

}  // namespace

SessionWorld::SessionWorld(WorldOptions the_options)
    : options(std::move(the_options)),
      now_(absl::FromUnixSeconds(1767225600)),
      pki_(now_),
      registrar_(WitnessKey::Generate(random_)) {
  if (options.identities) {
    UseRevocationList({});
  } else {
    members_ = std::make_unique<NamedMembers>();
    server_members_ = std::make_unique<NamedMembers>();
  }
  policy.session.corrupt_fraction = options.corrupt_fraction;
  policy.session.threat_model = options.threat_model;
  policy.session.least_clients = options.least_devices;
  policy.session.least_alive = options.least_alive;
  offer_message = MakeOffer(options, registrar_, now_);
  TrainingRandom values({.task_seed = options.seed, .purpose = "secagg-world"});
  for (int i = 0; i < options.devices; ++i) {
    WorldDevice& device = devices_.emplace_back();
    device.id = Name(i);
    if (options.identities) {
      const PrivateKey key = PrivateKey::Generate();
      const Certificate certificate =
          pki_.registrar()
              .Issue(key.public_key(), {.identity = {Role::kDevice, device.id},
                                        .now = now_,
                                        .validity = absl::Hours(1000)})
              .value();
      device.signer = CertificateSigner::Create({&certificate, 1}, key).value();
    } else {
      device.signer = std::make_unique<NamedSigner>(device.id);
    }
    for (const auto& [length, bits] : options.sections) {
      std::vector<uint32_t>& section = device.values.emplace_back();
      const auto mask = static_cast<uint32_t>((uint64_t{1} << bits) - 1);
      for (int64_t j = 0; j < length; ++j) {
        section.push_back(static_cast<uint32_t>(values.NextU64()) & mask);
      }
    }
  }
}

SessionWorld::~SessionWorld() = default;

void SessionWorld::UseRevocationList(v1::RevocationList list,
                                     absl::Duration age) {
  list.set_number(1);
  list.set_issued_unix_milliseconds(absl::ToUnixMillis(now_ - age));
  list.set_fresh_until_unix_milliseconds(
      absl::ToUnixMillis(now_ - age + absl::Hours(24)));
  const auto make = [&] {
    return std::make_unique<CertificateMembers>(
        pki_.root().certificate(),
        std::vector<Certificate>{pki_.registrar().certificate()},
        RevocationList::Parse(RevocationList::Sign(list, pki_.registrar()),
                              pki_.root().certificate(), now_, 0)
            .value(),
        absl::Hours(48));
  };
  members_ = make();
  server_members_ = make();
}

void SessionWorld::ServerBelievesEverybody() {
  server_members_ = std::make_unique<BelievesEverybody>();
}

WorldDevice* SessionWorld::Find(const std::string& id) {
  const size_t index = std::stoul(id.substr(sizeof("device-") - 1));
  return index < devices_.size() ? &devices_[index] : nullptr;
}

ClientUpdate SessionWorld::UpdateOf(const WorldDevice& device) const {
  ClientUpdate update;
  update.id = "update-of-" + device.id;
  update.task = Sha256Of("task");
  update.package = Sha256Of("package");
  update.base_version = 0;
  update.base_version_entry = Sha256Of("version 0");
  for (size_t i = 0; i < options.sections.size(); ++i) {
    const auto modulus = Modulus::Create(options.sections[i].second);
    auto section = ModularVector::Create(*modulus, options.sections[i].first);
    for (int64_t j = 0; j < section->size(); ++j) {
      section->Set(j, device.values[i][j]);
    }
    update.sections.push_back(*std::move(section));
  }
  return update;
}

absl::Status SessionWorld::MakeClient(WorldDevice& device) {
  auto client = SecaggClient::Create(
      policy, UpdateOf(device),
      {device.signer.get(), members_.get(),
       device.random != nullptr ? device.random.get() : &random_,
       registrar_.public_key()},
      device.journal, device.masked_input);
  if (!client.ok()) return client.status();
  device.client = *std::move(client);
  return absl::OkStatus();
}

absl::Status SessionWorld::Restart(WorldDevice& device) {
  device.client.reset();
  device.finished.reset();
  const absl::Status made = MakeClient(device);
  if (made.ok()) Handle(device, device.client->Start(now_));
  return made;
}

void SessionWorld::MakeServer() {
  ServerOptions server;
  server.corrupt_fraction = options.corrupt_fraction;
  server.dropout_fraction = options.dropout_fraction;
  server.threat_model = options.threat_model;
  server.graph = options.graph;
  server.fixed_neighbors = options.fixed_neighbors;
  server.fixed_threshold = options.fixed_threshold;
  server.maximum_devices = options.devices;
  server.largest_group = options.largest_group;
  auto offer = Offer::Make(offer_message);
  ASSERT_TRUE(offer.ok()) << offer.status();
  auto made = SecaggServer::Create(server, *std::move(offer),
                                   {server_members_.get(), options.pool});
  ASSERT_TRUE(made.ok()) << made.status();
  server_ = *std::move(made);
}

bool SessionWorld::StopsAt(WorldDevice& device, Step step) {
  if (device.stops_before == step) device.stopped = true;
  return device.stopped;
}

void SessionWorld::HandleOne(WorldDevice& device, ClientEffect& effect) {
  if (auto* send = std::get_if<SendToServer>(&effect)) {
    const v1::SecaggDeviceMessage& message = send->message;
    const Step step = message.has_advertise()        ? Step::kAdvertise
                      : message.has_share_boxes()    ? Step::kShareKeys
                      : message.has_sets_signature() ? Step::kSignSets
                      : message.has_unmask()         ? Step::kUnmask
                                                     : Step::kNever;
    if (step != Step::kNever && StopsAt(device, step)) return;
    device.sent.push_back(message);
    events_.push_back({[this, &device, message = Travel(message)]() mutable {
      if (to_server && !to_server(device, message)) return;
      ServerReaction reaction =
          server_->OnMessage(now_, DeviceId(device.id), message);
      if (!reaction.status.ok()) {
        refused.emplace_back(device.id, reaction.status);
      }
      Handle(std::move(reaction.effects));
    }});
  } else if (auto* persist = std::get_if<PersistJournal>(&effect)) {
    const auto bytes = persist->journal.bytes(RevealSecret());
    device.journal.assign(reinterpret_cast<const char*>(bytes.data()),
                          bytes.size());
    using Action = PersistJournal::MaskedInput;
    if (persist->masked_input_action == Action::kStore) {
      device.masked_input = persist->masked_input;
    } else if (persist->masked_input_action == Action::kErase) {
      device.masked_input = nullptr;
    }
    events_.push_back({[this, &device, record = persist->record] {
      if (device.stopped || device.client == nullptr) return;
      Handle(device, device.client->OnPersisted(now_, record));
    }});
  } else if (auto* sent = std::get_if<UploadMaskedInput>(&effect)) {
    if (StopsAt(device, Step::kMaskedInput)) return;
    device.uploads.push_back(*sent);
    events_.push_back({[this, &device, sent = *sent] {
      std::string bytes = *sent.bytes;
      if (upload && !upload(device, bytes)) return;
      ServerReaction reaction = server_->OnMaskedInput(
          now_, DeviceId(device.id), sent.session, Sha256Of(bytes), bytes);
      if (!reaction.status.ok()) {
        refused.emplace_back(device.id, reaction.status);
      }
      Handle(std::move(reaction.effects));
    }});
  } else if (auto* done = std::get_if<ClientFinished>(&effect)) {
    device.finished = std::move(*done);
  }
}

void SessionWorld::Handle(WorldDevice& device, ClientEffects effects) {
  for (ClientEffect& effect : effects) {
    if (device.stopped) return;
    HandleOne(device, effect);
  }
}

void SessionWorld::Deliver(WorldDevice& device,
                           const v1::SecaggServerMessage& message) {
  if (device.stopped || device.client == nullptr) return;
  Handle(device, device.client->OnMessage(now_, message));
}

void SessionWorld::Handle(ServerEffects effects) {
  for (ServerEffect& effect : effects) {
    if (auto* send = std::get_if<SendToDevices>(&effect)) {
      for (const DeviceId& id : send->devices) {
        v1::SecaggServerMessage message;
        if (!server_->MessageFor(*send, id, message)) continue;
        events_.push_back({[this, id, message = std::move(message)] {
          WorldDevice* const device = Find(id.value());
          if (device == nullptr || device->stopped) return;
          v1::SecaggServerMessage arrived = Travel(message);
          if (to_device && !to_device(*device, arrived)) return;
          Deliver(*device, arrived);
        }});
      }
    } else if (auto* request = std::get_if<RequestWitness>(&effect)) {
      WitnessStatement statement;
      statement.task = request->task;
      statement.session_number = request->session_number;
      statement.directory = request->directory;
      statement.time = now_;
      statement.Sign(registrar_);
      if (witness) witness(statement);
      events_.push_back({[this, statement] {
        Handle(server_->OnWitnessed(now_, statement));
      }});
    } else if (auto* sets = std::get_if<RequestSetsWitness>(&effect)) {
      if (!sets_witness_answers) continue;
      SetsStatement made{.task = sets->task,
                         .session_number = sets->session_number,
                         .group = sets->group,
                         .session = sets->session,
                         .sets = sets->sets,
                         .time = now_};
      made.Sign(registrar_);
      absl::StatusOr<SetsStatement> statement = std::move(made);
      if (sets_witness) sets_witness(statement);
      events_.push_back({[this, group = sets->group, statement] {
        Handle(server_->OnSetsWitnessed(now_, group, statement));
      }});
    } else if (auto* approve = std::get_if<ApproveUnmask>(&effect)) {
      events_.push_back({[this, group = approve->group] {
        Handle(server_->OnUnmaskApproved(now_, group, absl::OkStatus()));
      }});
    } else if (auto* wake = std::get_if<WakeServerAt>(&effect)) {
      server_wakes_ = wake->time;
    } else if (auto* sum = std::get_if<GroupFinished>(&effect)) {
      events_.push_back({[this, group = sum->group] {
        Handle(server_->OnCheckpointed(now_, group));
      }});
      finished.push_back(std::move(*sum));
    } else if (auto* lost = std::get_if<GroupAborted>(&effect)) {
      aborted.push_back(std::move(*lost));
    }
  }
}

void SessionWorld::Pump() {
  while (!events_.empty()) {
    Event event = std::move(events_.front());
    events_.pop_front();
    event.run();
  }
}

void SessionWorld::Run() {
  if (!started_) {
    started_ = true;
    MakeServer();
    if (server_ == nullptr) return;
    Handle(server_->Start(now_));
    for (WorldDevice& device : devices_) {
      if (device.client == nullptr) {
        const absl::Status made = MakeClient(device);
        ASSERT_TRUE(made.ok()) << made;
      }
      Handle(device, device.client->Start(now_));
      Handle(server_->OnConnected(now_, DeviceId(device.id)).effects);
    }
  }
  Pump();
  // Time passes only when nobody has anything left to say.
  for (int i = 0; i < 100 && !server_->finished(); ++i) {
    now_ = std::max(now_, server_wakes_);
    Handle(server_->OnTimer(now_));
    Pump();
  }
  EXPECT_TRUE(server_->finished()) << "the session hangs";
}

void SessionWorld::ExpectExactSum() {
  ASSERT_FALSE(finished.empty())
      << (aborted.empty() ? absl::OkStatus() : aborted[0].reason);
  for (const GroupFinished& group : finished) {
    for (size_t i = 0; i < options.sections.size(); ++i) {
      const ModularVector& sum = group.sum[i];
      for (int64_t j = 0; j < sum.size(); ++j) {
        uint32_t expected = 0;
        for (const DeviceId& id : group.counted) {
          expected += Find(id.value())->values[i][j];
        }
        if (j > 3 && j + 3 < sum.size() && j % 17 != 0) continue;
        ASSERT_EQ(sum.residue(j), expected & sum.modulus().mask())
            << "section " << i << ", coordinate " << j;
      }
    }
  }
}

int64_t SessionWorld::CountOf(ClientFinished::Outcome outcome) const {
  int64_t count = 0;
  for (const WorldDevice& device : devices_) {
    count += device.finished.has_value() && device.finished->outcome == outcome;
  }
  return count;
}

}  // namespace mledge::secagg
