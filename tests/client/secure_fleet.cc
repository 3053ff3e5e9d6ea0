#include "mledge/tests/client/secure_fleet.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "mledge/client/training_plan.h"
#include "mledge/core/strings.h"
#include "mledge/identity/revocation_list.h"
#include "mledge/identity/witness.h"

namespace mledge {
namespace {

constexpr absl::Duration kTransit = absl::Milliseconds(20);

v1::SecureAggregationResponse Say(const v1::SecaggServerMessage& message) {
  v1::SecureAggregationResponse response;
  *response.mutable_secagg() = message;
  return response;
}

}  // namespace

SecureFleet::SecureFleet(int count)
    : now(world.now), registrar_(WitnessKey::Generate(random_)) {
  world.MakeSecure(count);
  options.policy.session.least_clients = 3;
  options.policy.session.least_alive = 2;
  const std::vector<Certificate> issuers = {
      world.pki.registrar().certificate()};
  server_members_ =
      std::make_unique<MemberRegistry>(world.pki.root().certificate(), issuers);
  EXPECT_TRUE(server_members_->Update(RevocationList(1), now).ok());
  const int64_t size = world.package.layout->shared_size();
  for (int i = 0; i < count; ++i) {
    FleetDevice& device = devices.emplace_back();
    device.index = i;
    device.id = StrCat("device-", i);
    const PrivateKey key = PrivateKey::Generate();
    const Certificate certificate =
        world.pki.registrar()
            .Issue(key.public_key(), {.identity = {Role::kDevice, device.id},
                                      .now = now,
                                      .validity = absl::Hours(1000)})
            .value();
    device.signer =
        secagg::CertificateSigner::Create({&certificate, 1}, key).value();
    device.storage = std::make_unique<MemoryDeviceStorage>();
    device.assignment = world.MakeAssignment();
    device.assignment.set_assignment_id(StrCat("a-", i));
    auto update = std::make_shared<Update>();
    UpdateSection section;
    section.name = std::string(kDeltaSection);
    section.values = AlignedFloats(static_cast<size_t>(size));
    for (float& value : section.values.span()) {
      value = 0.25F + static_cast<float>(i) / 128;
    }
    update->sections.push_back(std::move(section));
    update->weight = i + 1;
    update->scalars = {{std::string(kExamplesScalar), i + 1.0},
                       {std::string(kLossSumScalar), 1.0},
                       {std::string(kMetricSumScalar), 1.0}};
    device.update = std::move(update);
  }
  first_list = [this](FleetDevice&) { return RevocationList(1); };
}

v1::SignedMessage SecureFleet::RevocationList(uint64_t number,
                                              absl::Duration age) {
  v1::RevocationList list;
  list.set_number(number);
  list.set_issued_unix_milliseconds(absl::ToUnixMillis(world.now - age));
  list.set_fresh_until_unix_milliseconds(
      absl::ToUnixMillis(world.now - age + absl::Hours(24)));
  return mledge::RevocationList::Sign(list, world.pki.registrar());
}

void SecureFleet::MakeServer() {
  ++sessions;
  const v1::SecureAssignment& secure = devices[0].assignment.secure();
  const Digest task = Digest::FromBytes(secure.task_sha256()).value();
  const Digest entry =
      Sha256Of(devices[0].assignment.version_statement().payload());
  codec_ = secagg::UpdateCodec::Create(MakeCodecOptions(secure)).value();
  v1::SecaggOffer offer;
  offer.set_protocol_version(1);
  offer.set_agreement_suite(1);
  offer.set_cipher_suite(1);
  offer.set_session_number(static_cast<uint64_t>(sessions));
  offer.set_task_sha256(task.ToBytes());
  offer.set_package_sha256(devices[0].assignment.package().sha256());
  VersionLogHead head;
  head.task = task;
  head.length = 1;
  head.head = ExtendVersionLog(task, 0, EmptyVersionLog(task), entry);
  head.time = now;
  head.Sign(registrar_);
  *offer.mutable_version_log() = head.ToProto();
  offer.set_head_before_entries(EmptyVersionLog(task).ToBytes());
  offer.add_entries(entry.ToBytes());
  offer.set_corrupt_ppm(100000);
  offer.set_dropout_ppm(100000);
  offer.set_least_devices(3);
  offer.set_least_alive(2);
  for (const secagg::OfferSection& from : codec_->sections()) {
    auto& section = *offer.add_sections();
    section.set_length(static_cast<uint64_t>(from.length));
    section.set_modulus_bits(static_cast<uint32_t>(from.modulus.bits()));
  }
  offer.set_expires_unix_milliseconds(
      absl::ToUnixMillis(now + absl::Minutes(20)));
  offer.set_nonce(Sha256Of(StrCat("nonce", sessions)).ToBytes());
  secagg::ServerOptions server_options;
  server_options.graph = secagg::GraphKind::kFull;
  server_options.maximum_devices = static_cast<int64_t>(devices.size());
  auto made = secagg::SecaggServer::Create(server_options,
                                           secagg::Offer::Make(offer).value(),
                                           {server_members_.get(), nullptr});
  ASSERT_TRUE(made.ok()) << made.status();
  server = *std::move(made);
  Handle(server->Start(now));
}

void SecureFleet::After(absl::Duration pause, std::function<void()> event) {
  events_.emplace(now + pause, std::move(event));
}

void SecureFleet::Begin() {
  MakeServer();
  for (FleetDevice& device : devices) StartDevice(device);
}

void SecureFleet::Run(absl::Duration limit) {
  const absl::Time end = now + limit;
  while (!events_.empty() && events_.begin()->first <= end) {
    auto node = events_.extract(events_.begin());
    now = std::max(now, node.key());
    node.mapped()();
  }
}

void SecureFleet::StartDevice(FleetDevice& device) {
  device.outcome.reset();
  device.members = std::make_unique<MemberRegistry>(
      world.pki.root().certificate(),
      std::vector<Certificate>{world.pki.registrar().certificate()},
      *device.storage->LoadListNumber());
  options.device = DeviceId(device.id);
  auto made = SecureParticipation::Create(
      options,
      {.signer = device.signer.get(),
       .members = device.members.get(),
       .random = &random_,
       .rounding = &random_,
       .registrar = registrar_.public_key()},
      device.assignment, device.update,
      *device.storage->LoadSecaggJournal(
          Digest::FromBytes(device.assignment.secure().task_sha256()).value()));
  ASSERT_TRUE(made.ok()) << made.status();
  device.participation = *std::move(made);
  Apply(device, device.participation->Start(now));
}

void SecureFleet::Kill(FleetDevice& device) {
  ++device.life;
  device.stream.reset();
  // The caller may be inside of it.
  std::shared_ptr<SecureParticipation> last = std::move(device.participation);
  After(absl::ZeroDuration(), [last] {});
}

void SecureFleet::BreakStream(FleetDevice& device, absl::Status why) {
  if (!device.stream.has_value()) return;
  const CallId stream = *std::exchange(device.stream, std::nullopt);
  After(absl::ZeroDuration(), [this, &device, life = device.life, stream, why] {
    if (device.life != life) return;
    Apply(device, device.participation->OnStreamClosed(now, stream, why));
  });
}

void SecureFleet::AbortSession() {
  Handle(server->Abort(now, absl::CancelledError("by the test")));
  After(absl::Seconds(1), [this] {
    MakeServer();
    for (FleetDevice& device : devices) {
      if (!device.stream.has_value()) continue;
      Handle(server->OnConnected(now, DeviceId(device.id)).effects);
    }
  });
}

void SecureFleet::Deliver(FleetDevice& device,
                          v1::SecureAggregationResponse message) {
  if (!device.stream.has_value()) return;
  After(kTransit, [this, &device, life = device.life, stream = *device.stream,
                   message = std::move(message)]() mutable {
    if (device.life != life || device.stream != stream) return;
    if (to_device && !to_device(device, message)) return;
    Apply(device, device.participation->OnStreamMessage(now, stream, message));
  });
}

void SecureFleet::Apply(FleetDevice& device, SecureEffects effects) {
  const int life = device.life;
  for (SecureEffect& effect : effects) {
    if (device.life != life) return;
    Do(device, effect);
    ++device.effects;
    if (after_effect) after_effect(device, effect);
  }
}

void SecureFleet::Connected(FleetDevice& device, CallId stream) {
  if (device.stream != stream) return;
  if (const auto list = first_list(device)) {
    v1::SecureAggregationResponse response;
    *response.mutable_revocation_list() = *list;
    Deliver(device, std::move(response));
  }
  if (!finished.empty()) {
    v1::SecureAggregationResponse response;
    response.mutable_result()->set_outcome(Counted(device)
                                               ? v1::UploadResult::ACKNOWLEDGED
                                               : v1::UploadResult::TOO_LATE);
    Deliver(device, std::move(response));
    return;
  }
  Handle(server->OnConnected(now, DeviceId(device.id)).effects);
}

void SecureFleet::Do(FleetDevice& device, SecureEffect& effect) {
  const int life = device.life;
  if (auto* open = std::get_if<OpenSecureStream>(&effect)) {
    EXPECT_EQ(open->join.assignment_id(), device.assignment.assignment_id());
    EXPECT_FALSE(device.stream.has_value()) << "two streams at once";
    device.stream = open->call;
    ++device.streams;
    After(kTransit, [this, &device, life, call = open->call] {
      if (device.life == life) Connected(device, call);
    });
  } else if (auto* send = std::get_if<SendSecurely>(&effect)) {
    device.sent.push_back(send->message);
    After(kTransit, [this, &device, life, call = send->call,
                     message = send->message] {
      // What was on its way when the stream broke is lost.
      if (device.life != life || device.stream != call) return;
      Handle(server->OnMessage(now, DeviceId(device.id), message).effects);
    });
  } else if (auto* close = std::get_if<CloseSecureStream>(&effect)) {
    if (device.stream == close->call) device.stream.reset();
  } else if (auto* save = std::get_if<SaveSecaggJournal>(&effect)) {
    absl::Status status = on_save ? on_save(device) : absl::OkStatus();
    if (status.ok()) {
      status = device.storage->SaveSecaggJournal(
          save->task, save->journal, save->action, save->masked_input);
    }
    After(kTransit, [this, &device, life, call = save->call, status] {
      if (device.life != life) return;
      Apply(device, device.participation->OnSaved(now, call, status));
    });
  } else if (auto* upload = std::get_if<UploadMasked>(&effect)) {
    const std::string& session = upload->header.session();
    const auto [place, first] =
        device.masked.emplace(session, upload->header.content_sha256());
    EXPECT_EQ(place->second, upload->header.content_sha256())
        << "another masked input for the same session";
    After(kTransit, [this, &device, life, upload = *upload] {
      auto answer = TakeUpload(device, upload);
      if (device.life != life) return;
      Apply(device, device.participation->OnUploadAnswer(now, upload.call,
                                                         std::move(answer)));
    });
  } else if (auto* keep = std::get_if<KeepListNumber>(&effect)) {
    EXPECT_TRUE(device.storage->SaveListNumber(keep->number).ok());
  } else if (auto* wake = std::get_if<WakeAt>(&effect)) {
    if (wake->time == absl::InfiniteFuture()) return;
    events_.emplace(wake->time, [this, &device, life] {
      if (device.life != life || device.participation->finished()) return;
      Apply(device, device.participation->OnWake(now));
    });
  } else if (auto* notice = std::get_if<Notice>(&effect)) {
    device.notices.push_back(notice->text);
  } else if (auto* done = std::get_if<Aggregated>(&effect)) {
    EXPECT_FALSE(device.outcome.has_value()) << "ended twice";
    device.outcome = std::move(done->outcome);
  }
}

absl::StatusOr<v1::UploadResult> SecureFleet::TakeUpload(
    FleetDevice& device, const UploadMasked& upload) {
  if (upload_answer) {
    if (auto answer = upload_answer(device)) return *std::move(answer);
  }
  auto reaction = server->OnMaskedInput(
      now, DeviceId(device.id),
      Digest::FromBytes(upload.header.session()).value(),
      Digest::FromBytes(upload.header.content_sha256()).value(), *upload.bytes);
  Handle(std::move(reaction.effects));
  v1::UploadResult result;
  result.set_outcome(reaction.status.ok() ? v1::UploadResult::RECEIVED
                                          : v1::UploadResult::TOO_LATE);
  result.set_reason(std::string(reaction.status.message()));
  return result;
}

void SecureFleet::Handle(secagg::ServerEffects effects) {
  const secagg::SecaggServer* const of = server.get();
  for (secagg::ServerEffect& effect : effects) {
    if (auto* send = std::get_if<secagg::SendToDevices>(&effect)) {
      for (const DeviceId& id : send->devices) {
        const auto device = std::find_if(
            devices.begin(), devices.end(),
            [&](const FleetDevice& d) { return d.id == id.value(); });
        v1::SecaggServerMessage message;
        if (device != devices.end() && server->MessageFor(*send, id, message)) {
          Deliver(*device, Say(message));
        }
      }
    } else if (auto* request = std::get_if<secagg::RequestWitness>(&effect)) {
      WitnessStatement statement;
      statement.task = request->task;
      statement.session_number = request->session_number;
      statement.directory = request->directory;
      statement.time = now;
      statement.Sign(registrar_);
      After(kTransit, [this, of, statement] {
        if (server.get() == of) Handle(server->OnWitnessed(now, statement));
      });
    } else if (auto* sets = std::get_if<secagg::RequestSetsWitness>(&effect)) {
      SetsStatement statement{.task = sets->task,
                              .session_number = sets->session_number,
                              .group = sets->group,
                              .session = sets->session,
                              .sets = sets->sets,
                              .time = now};
      statement.Sign(registrar_);
      After(kTransit, [this, of, group = sets->group, statement] {
        if (server.get() != of) return;
        Handle(server->OnSetsWitnessed(now, group, statement));
      });
    } else if (auto* approve = std::get_if<secagg::ApproveUnmask>(&effect)) {
      After(kTransit, [this, of, group = approve->group] {
        if (server.get() != of) return;
        Handle(server->OnUnmaskApproved(now, group, absl::OkStatus()));
      });
    } else if (auto* wake = std::get_if<secagg::WakeServerAt>(&effect)) {
      if (wake->time == absl::InfiniteFuture()) continue;
      events_.emplace(wake->time, [this, of] {
        if (server.get() == of) Handle(server->OnTimer(now));
      });
    } else if (auto* sum = std::get_if<secagg::GroupFinished>(&effect)) {
      After(kTransit, [this, group = sum->group] {
        Handle(server->OnCheckpointed(now, group));
        After(absl::Seconds(1), [this] { TellTheRest(); });
      });
      finished.push_back(std::move(*sum));
    }
  }
}

// The round is over: whoever still waits is told.
void SecureFleet::TellTheRest() {
  for (FleetDevice& device : devices) {
    v1::SecureAggregationResponse response;
    response.mutable_result()->set_outcome(Counted(device)
                                               ? v1::UploadResult::ACKNOWLEDGED
                                               : v1::UploadResult::TOO_LATE);
    Deliver(device, std::move(response));
  }
}

bool SecureFleet::Counted(const FleetDevice& device) const {
  for (const secagg::GroupFinished& group : finished) {
    for (const DeviceId& id : group.counted) {
      if (id.value() == device.id) return true;
    }
  }
  return false;
}

void SecureFleet::ExpectExactSum() {
  ASSERT_EQ(finished.size(), 1u);
  const secagg::GroupFinished& group = finished.front();
  const auto sum =
      codec_->Decode(group.sum, static_cast<int64_t>(group.counted.size()));
  ASSERT_TRUE(sum.ok()) << sum.status();
  int64_t weight = 0;
  double value = 0;
  for (const FleetDevice& device : devices) {
    if (!Counted(device)) continue;
    weight += device.update->weight;
    value += static_cast<double>(device.update->weight) *
             device.update->sections[0].values.span()[0];
  }
  EXPECT_EQ(sum->weight_sum, weight);
  const double got = std::ldexp(
      static_cast<double>(sum->sections[0].integers[0]), -sum->fraction_bits);
  // Each update is rounded by less than a step.
  EXPECT_NEAR(got, value, codec_->value_step() * static_cast<double>(weight));
}

void SecureFleet::ExpectHonestOutcomes() {
  for (const FleetDevice& device : devices) {
    ASSERT_TRUE(device.outcome.has_value()) << device.id << " hangs";
    ASSERT_TRUE(device.outcome->ok()) << device.id << device.outcome->status();
    EXPECT_EQ((*device.outcome)->kind == SecureOutcome::Kind::kCounted,
              Counted(device))
        << device.id << ": " << (*device.outcome)->reason;
  }
}

void SecureFleet::ExpectNothingLeftTwice() {
  for (const FleetDevice& device : devices) {
    EXPECT_LE(device.masked.size(), 1u)
        << device.id << " sent its update into two sessions";
  }
}

}  // namespace mledge
