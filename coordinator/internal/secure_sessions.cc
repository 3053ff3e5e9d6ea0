#include "mledge/coordinator/internal/secure_sessions.h"

#include <algorithm>
#include <array>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "mledge/aggregation/secagg/client.h"
#include "mledge/coordinator/internal/upload_results.h"
#include "mledge/core/logging.h"
#include "mledge/core/mutex.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/status_macros.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/revocation_list.h"

namespace mledge {
namespace {

// A list that the registrar made longer ago is not offered to devices, who
// would not take it.
constexpr absl::Duration kOldestRevocationList = absl::Hours(48);

// A registrar that does not answer.
constexpr absl::Duration kAskAgainAfter = absl::Seconds(1);

// Everything from the offer to the last unmasking share, and a little more.
absl::Duration Lifetime(const secagg::ServerOptions& options) {
  return options.advertise_time + options.share_time +
         options.masked_input_time + options.consistency_time +
         options.unmask_time + absl::Minutes(1);
}

uint32_t Millionths(double fraction) {
  return static_cast<uint32_t>(fraction * 1e6 + 0.5);
}

}  // namespace

absl::Status SecureSessions::Check(const Options& options) {
  MLEDGE_RETURN_IF_ERROR(secagg::UpdateCodec::Create(options.codec).status());
  const secagg::ServerOptions& server = options.server;
  if (server.largest_group > 0 &&
      server.largest_group < 2 * options.least_devices) {
    return absl::InvalidArgumentError(
        StrCat("secure_aggregation.group_size is ", server.largest_group,
               "; groups can be half of that, and each needs at least ",
               options.least_devices, " devices"));
  }
  if (Lifetime(server) > secagg::ClientPolicy().maximum_lifetime) {
    return absl::InvalidArgumentError(
        "secure_aggregation.step_deadline is so long that a session could last "
        "longer than devices allow, 30 minutes; write at most 5m");
  }
  const absl::StatusOr<secagg::SecaggParameters> parameters =
      secagg::FindParameters(
          {.clients = server.largest_group > 0 ? server.largest_group
                                               : server.maximum_devices,
           .corrupt_fraction = server.corrupt_fraction,
           .dropout_fraction = server.dropout_fraction,
           .sigma = secagg::SigmaForSessions(server.sigma,
                                             server.registrar_sessions_per_day),
           .eta = server.eta,
           .threat_model = server.threat_model,
           .graph = server.graph});
  return Annotate(parameters.status(), "secure_aggregation");
}

SecureSessions::SecureSessions(Options options, Environment environment)
    : options_(std::move(options)),
      environment_(std::move(environment)),
      executor_(environment_.executor) {}

SecureSessions::~SecureSessions() = default;

void SecureSessions::Run(std::function<void()> work) {
  executor_.Schedule([this, work = std::move(work)] {
    if (!stopped_) work();
  });
}

void SecureSessions::Stop() {
  Mutex mutex;
  CondVar changed;
  bool stopped = false;
  executor_.Schedule([&] {
    stopped_ = true;
    done_ = nullptr;
    session_.reset();
    server_.reset();
    streams_.clear();
    MutexLock lock(&mutex);
    stopped = true;
    changed.SignalAll();
  });
  MutexLock lock(&mutex);
  while (!stopped) changed.Wait(&mutex);
}

absl::Time SecureSessions::Now(absl::Time now) const {
  return environment_.services->time_now == nullptr
             ? now
             : environment_.services->time_now();
}

// Streams.

bool SecureSessions::InSession(const AssignmentId& assignment) const {
  return session_ != nullptr && server_ != nullptr &&
         session_->job.members.contains(assignment);
}

void SecureSessions::Join(absl::Time now, const AssignmentId& assignment,
                          const DeviceId& device, uint64_t stream,
                          Coordinator::SecureSink sink) {
  Run([this, now, assignment, device, stream, sink = std::move(sink)] {
    Stream& joined = streams_[assignment];
    joined = {device, stream, sink};
    // Between sessions there is no list that is fresh for sure.
    if (InSession(assignment)) {
      v1::SecureAggregationResponse response;
      *response.mutable_revocation_list() = *revocation_list_;
      joined.sink(response);
      Apply(now, server_->OnConnected(now, device).effects);
    }
  });
}

void SecureSessions::Leave(const AssignmentId& assignment, uint64_t stream) {
  Run([this, assignment, stream] {
    const auto found = streams_.find(assignment);
    if (found != streams_.end() && found->second.number == stream) {
      streams_.erase(found);
    }
  });
}

void SecureSessions::OnMessage(absl::Time now, const AssignmentId& assignment,
                               uint64_t stream,
                               const v1::SecaggDeviceMessage& message,
                               std::shared_ptr<const void> pending) {
  Run([this, now, assignment, stream, message, pending] {
    const auto found = streams_.find(assignment);
    if (found == streams_.end() || found->second.number != stream ||
        !InSession(assignment)) {
      return;  // of a session that is over
    }
    const DeviceId device = found->second.device;
    secagg::ServerReaction reaction = server_->OnMessage(now, device, message);
    if (!reaction.status.ok()) {
      LOG(WARNING) << "secure aggregation of round " << session_->job.round
                   << ": message of device " << device << ": "
                   << reaction.status;
    }
    Apply(now, std::move(reaction.effects));
  });
}

void SecureSessions::EndAssignment(const AssignmentId& assignment,
                                   const v1::UploadResult& result) {
  Run([this, assignment, result] {
    const auto found = streams_.find(assignment);
    if (found == streams_.end()) return;
    const Stream stream = std::move(found->second);
    streams_.erase(found);
    v1::SecureAggregationResponse response;
    *response.mutable_result() = result;
    stream.sink(response);
  });
}

void SecureSessions::OnMaskedInput(
    absl::Time now, const AssignmentId& assignment, const Digest& session,
    const Digest& content, std::function<absl::StatusOr<std::string>()> read,
    std::function<void(absl::StatusOr<v1::UploadResult>)> done) {
  Run([this, now, assignment, session, content, read = std::move(read),
       done = std::move(done)] {
    if (!InSession(assignment)) {
      done(MakeUploadResult(v1::UploadResult::TOO_LATE,
                            "the session of this masked input is over"));
      return;
    }
    const absl::StatusOr<std::string> bytes = read();
    if (!bytes.ok()) {
      done(bytes.status());
      return;
    }
    secagg::ServerReaction reaction = server_->OnMaskedInput(
        now, session_->job.members.at(assignment), session, content, *bytes);
    v1::UploadResult::Outcome outcome = v1::UploadResult::REFUSED;
    if (reaction.status.ok()) {
      inputs_[assignment] = content;
      outcome = v1::UploadResult::RECEIVED;
    } else if (absl::IsFailedPrecondition(reaction.status)) {
      outcome = v1::UploadResult::TOO_LATE;
    }
    done(MakeUploadResult(outcome, std::string(reaction.status.message())));
    Apply(now, std::move(reaction.effects));
  });
}

void SecureSessions::Tick(absl::Time now) {
  Run([this, now] {
    if (session_ == nullptr || server_ == nullptr) return;
    for (const auto& ask : std::exchange(ask_again_, {})) ask();
    Apply(now, server_->OnTimer(now));
  });
}

// Sessions.

void SecureSessions::Begin(absl::Time now, Session session,
                           std::unique_ptr<Aggregator> sum, Done done) {
  auto begun = std::make_shared<Session>(std::move(session));
  auto shared_sum =
      std::make_shared<std::unique_ptr<Aggregator>>(std::move(sum));
  Run([this, now, begun, shared_sum, done = std::move(done)] {
    session_ = std::make_unique<Session>(std::move(*begun));
    done_ = done;
    result_ = Result();
    result_.sum = std::move(*shared_sum);
    server_.reset();
    inputs_.clear();
    ask_again_.clear();
    aborted_.clear();
    finished_groups_.clear();
    ended_groups_.clear();
    assignment_of_.clear();
    for (const auto& [assignment, device] : session_->job.members) {
      assignment_of_[device] = assignment;
    }
    if (absl::Status status = Prepare(Now(now)); !status.ok()) {
      aborted_.push_back(std::string(status.message()));
      Finish();
      return;
    }
    AppendBaseVersion(now);
  });
}

// The newest revocation list, for the coordinator's own checks and for devices.
absl::Status SecureSessions::Prepare(absl::Time now) {
  const SecureAggregationServices& services = *environment_.services;
  absl::StatusOr<v1::SignedMessage> list = services.revocation_list();
  if (!list.ok()) {
    return Annotate(list.status(), "the registrar's revocation list");
  }
  MLEDGE_ASSIGN_OR_RETURN(const Certificate root,
                          Certificate::FromPem(services.root_pem));
  MLEDGE_ASSIGN_OR_RETURN(
      RevocationList parsed,
      RevocationList::Parse(*list, root, now, revocation_list_number_));
  revocation_list_number_ = parsed.number();
  if (members_ == nullptr) {
    std::vector<Certificate> issuers;
    for (const std::string& pem : services.issuers_pem) {
      MLEDGE_ASSIGN_OR_RETURN(Certificate issuer, Certificate::FromPem(pem));
      issuers.push_back(std::move(issuer));
    }
    members_ = std::make_unique<secagg::CertificateMembers>(
        root, std::move(issuers), std::move(parsed), kOldestRevocationList);
  } else {
    MLEDGE_RETURN_IF_ERROR(members_->SetRevocationList(std::move(parsed)));
  }
  revocation_list_ = *std::move(list);
  v1::SecureAggregationResponse response;
  *response.mutable_revocation_list() = *revocation_list_;
  for (const auto& [assignment, stream] : streams_) stream.sink(response);
  return absl::OkStatus();
}

// Devices want to see their base version in the registrar's log.
void SecureSessions::AppendBaseVersion(absl::Time now) {
  const std::vector<Digest>& entries = session_->version_entries;
  environment_.services->witness->AppendVersion(
      options_.task, entries.size() - 1, entries.back(),
      [weak = weak_from_this(), now](absl::StatusOr<VersionLogHead> head) {
        if (const std::shared_ptr<SecureSessions> self = weak.lock()) {
          self->Run([raw = self.get(), now, head = std::move(head)] {
            raw->Offer(now, head);
          });
        }
      });
}

absl::StatusOr<secagg::Offer> SecureSessions::MakeOffer(
    absl::Time now, const VersionLogHead& head) const {
  const std::vector<Digest>& entries = session_->version_entries;
  v1::SecaggOffer offer;
  offer.set_protocol_version(1);
  offer.set_agreement_suite(1);
  offer.set_cipher_suite(1);
  offer.set_session_number(session_->job.session_number);
  offer.set_task_sha256(options_.task.ToBytes());
  offer.set_package_sha256(options_.package.ToBytes());
  *offer.mutable_version_log() = head.ToProto();
  Digest before = EmptyVersionLog(options_.task);
  for (size_t version = 0; version + 1 < entries.size(); ++version) {
    before = ExtendVersionLog(options_.task, version, before, entries[version]);
  }
  offer.set_head_before_entries(before.ToBytes());
  offer.add_entries(entries.back().ToBytes());
  offer.set_corrupt_ppm(Millionths(options_.server.corrupt_fraction));
  offer.set_dropout_ppm(Millionths(options_.server.dropout_fraction));
  offer.set_least_devices(static_cast<uint32_t>(options_.least_devices));
  offer.set_least_alive(static_cast<uint32_t>(options_.least_alive));
  MLEDGE_ASSIGN_OR_RETURN(const secagg::UpdateCodec codec,
                          secagg::UpdateCodec::Create(options_.codec));
  for (const secagg::OfferSection& section : codec.sections()) {
    v1::SecaggOffer::Section& added = *offer.add_sections();
    added.set_length(static_cast<uint64_t>(section.length));
    added.set_modulus_bits(static_cast<uint32_t>(section.modulus.bits()));
  }
  offer.set_expires_unix_milliseconds(
      absl::ToUnixMillis(now + Lifetime(options_.server)));
  std::array<uint8_t, 32> nonce;
  SystemSecretRandom().Fill(nonce);
  offer.set_nonce(nonce.data(), nonce.size());
  return secagg::Offer::Make(offer);
}

void SecureSessions::Offer(absl::Time now,
                           absl::StatusOr<VersionLogHead> head) {
  if (session_ == nullptr || server_ != nullptr) return;  // aborted meanwhile
  now = Now(now);
  const absl::Status begun = [&]() -> absl::Status {
    if (!head.ok()) return Annotate(head.status(), "the log of versions");
    MLEDGE_ASSIGN_OR_RETURN(secagg::Offer offer, MakeOffer(now, *head));
    secagg::ServerOptions options = options_.server;
    options.maximum_devices =
        static_cast<int64_t>(session_->job.members.size());
    MLEDGE_ASSIGN_OR_RETURN(
        server_, secagg::SecaggServer::Create(
                     options, std::move(offer),
                     {.members = members_.get(),
                      .pool = environment_.pool,
                      .cryptography = environment_.services->cryptography}));
    return absl::OkStatus();
  }();
  if (!begun.ok()) {
    aborted_.push_back(std::string(begun.message()));
    Finish();
    return;
  }
  secagg::ServerEffects effects = server_->Start(now);
  for (const auto& [assignment, device] : session_->job.members) {
    if (!streams_.contains(assignment)) continue;
    for (secagg::ServerEffect& effect :
         server_->OnConnected(now, device).effects) {
      effects.push_back(std::move(effect));
    }
  }
  Apply(now, std::move(effects));
}

void SecureSessions::Abort(absl::Time now, const std::string& reason) {
  Run([this, now, reason] {
    if (session_ == nullptr) return;
    if (server_ != nullptr) {
      Apply(now, server_->Abort(now, absl::CancelledError(reason)));
    } else {
      aborted_.push_back(reason);
      Finish();
    }
  });
}

void SecureSessions::Apply(absl::Time now, secagg::ServerEffects effects) {
  for (secagg::ServerEffect& effect : effects) {
    std::visit([&](auto& e) { Do(now, e); }, effect);
  }
  if (session_ != nullptr && server_ != nullptr && EveryGroupHasEnded()) {
    Finish();
  }
}

// A group with a sum ends for the server only when that is saved.
bool SecureSessions::EveryGroupHasEnded() const {
  if (server_->group(0) == nullptr) return server_->finished();
  for (uint32_t group = 0; server_->group(group) != nullptr; ++group) {
    if (!ended_groups_.contains(group)) return false;
  }
  return true;
}

void SecureSessions::Do(absl::Time, secagg::SendToDevices& effect) {
  v1::SecureAggregationResponse response;
  const bool same_for_all = effect.message != nullptr;
  if (same_for_all) *response.mutable_secagg() = *effect.message;
  for (const DeviceId& device : effect.devices) {
    const auto assignment = assignment_of_.find(device);
    if (assignment == assignment_of_.end()) continue;
    const auto stream = streams_.find(assignment->second);
    if (stream == streams_.end()) continue;
    if (same_for_all ||
        (server_ != nullptr &&
         server_->MessageFor(effect, device, *response.mutable_secagg()))) {
      stream->second.sink(response);
    }
  }
}

template <typename Statement>
std::function<void(absl::StatusOr<Statement>)> SecureSessions::WhenWitnessed(
    absl::Time now, std::function<void()> ask_again,
    std::function<secagg::ServerEffects(
        absl::Time now, const absl::StatusOr<Statement>& statement)>
        pass_on) {
  return [weak = weak_from_this(), now, number = session_->job.session_number,
          ask_again = std::move(ask_again),
          pass_on = std::move(pass_on)](absl::StatusOr<Statement> statement) {
    const std::shared_ptr<SecureSessions> self = weak.lock();
    if (self == nullptr) return;
    self->Run([raw = self.get(), now, number, ask_again, pass_on,
               statement = std::move(statement)] {
      if (raw->session_ == nullptr || raw->server_ == nullptr ||
          raw->session_->job.session_number != number) {
        return;
      }
      const absl::Time later = raw->Now(now);
      if (absl::IsUnavailable(statement.status()) ||
          absl::IsDeadlineExceeded(statement.status())) {
        // Asking is harmless; the session's own deadline ends it.
        LOG(WARNING) << "the registrar: " << statement.status();
        raw->ask_again_.push_back(ask_again);
        raw->environment_.wake_at(later + kAskAgainAfter);
        return;
      }
      raw->Apply(later, pass_on(later, statement));
    });
  };
}

void SecureSessions::Do(absl::Time now, secagg::RequestWitness& effect) {
  environment_.services->witness->WitnessDirectory(
      effect.task, effect.session_number, effect.directory,
      WhenWitnessed<WitnessStatement>(
          now, [this, now, effect]() mutable { Do(now, effect); },
          [this](absl::Time later,
                 const absl::StatusOr<WitnessStatement>& statement) {
            return server_->OnWitnessed(later, statement);
          }));
}

void SecureSessions::Do(absl::Time now, secagg::RequestSetsWitness& effect) {
  environment_.services->witness->WitnessSets(
      effect.task, effect.session_number, effect.group, effect.session,
      effect.sets,
      WhenWitnessed<SetsStatement>(
          now, [this, now, effect]() mutable { Do(now, effect); },
          [this, group = effect.group](
              absl::Time later,
              const absl::StatusOr<SetsStatement>& statement) {
            return server_->OnSetsWitnessed(later, group, statement);
          }));
}

void SecureSessions::Do(absl::Time now, secagg::ApproveUnmask& effect) {
  if (environment_.approve_unmask == nullptr) {
    Apply(now, server_->OnUnmaskApproved(now, effect.group, absl::OkStatus()));
    return;
  }
  std::vector<AssignmentId> members;
  for (const DeviceId& device : effect.devices) {
    members.push_back(assignment_of_.at(device));
  }
  environment_.approve_unmask(
      session_->job, effect.group, std::move(members),
      [weak = weak_from_this(), now, number = session_->job.session_number,
       group = effect.group](const absl::Status& status) {
        const std::shared_ptr<SecureSessions> self = weak.lock();
        if (self == nullptr) return;
        self->Run([raw = self.get(), now, number, group, status] {
          if (raw->session_ == nullptr || raw->server_ == nullptr ||
              raw->session_->job.session_number != number) {
            return;
          }
          const absl::Time later = raw->Now(now);
          raw->Apply(later,
                     raw->server_->OnUnmaskApproved(later, group, status));
        });
      });
}

void SecureSessions::Do(absl::Time, secagg::WakeServerAt& effect) {
  environment_.wake_at(effect.time);
}

void SecureSessions::Lose(const std::vector<secagg::LostDevice>& devices) {
  for (const secagg::LostDevice& lost : devices) {
    LOG(WARNING) << "secure aggregation of round " << session_->job.round
                 << ": device " << lost.device << " was lost at "
                 << secagg::ToString(lost.round) << ": "
                 << absl::CHexEscape(lost.reason);
    const auto assignment = assignment_of_.find(lost.device);
    if (assignment == assignment_of_.end()) continue;
    result_.end.lost[assignment->second] =
        StrCat("was lost at \"", secagg::ToString(lost.round),
               "\" of secure aggregation");
  }
}

void SecureSessions::Do(absl::Time, secagg::GroupFinished& effect) {
  ended_groups_.insert(effect.group);
  Lose(effect.lost);
  const absl::Status added = [&]() -> absl::Status {
    MLEDGE_ASSIGN_OR_RETURN(const secagg::UpdateCodec codec,
                            secagg::UpdateCodec::Create(options_.codec));
    MLEDGE_ASSIGN_OR_RETURN(
        const AggregationSum sum,
        codec.Decode(effect.sum, static_cast<int64_t>(effect.counted.size())));
    return result_.sum->Merge(sum);
  }();
  if (!added.ok()) {
    aborted_.push_back(std::string(added.message()));
    return;
  }
  finished_groups_.push_back(effect.group);
  for (const DeviceId& device : effect.counted) {
    const AssignmentId& assignment = assignment_of_.at(device);
    result_.end.counted[assignment] = inputs_.at(assignment);
  }
}

void SecureSessions::Do(absl::Time, secagg::GroupAborted& effect) {
  ended_groups_.insert(effect.group);
  Lose(effect.lost);
  aborted_.push_back(std::string(effect.reason.message()));
}

void SecureSessions::Finish() {
  for (const std::string& reason : aborted_) {
    LOG(WARNING) << "secure aggregation of round " << session_->job.round
                 << ": " << reason;
  }
  for (const auto& [assignment, content] : result_.end.counted) {
    result_.end.lost.erase(assignment);
  }
  for (const auto& [assignment, content] : inputs_) {
    if (!result_.end.counted.contains(assignment)) {
      result_.end.lost[assignment] =
          "its update was used up in a session of secure aggregation that "
          "came to no sum with it";
    }
  }
  if (result_.end.counted.empty()) {
    result_.status =
        absl::AbortedError(aborted_.empty() ? "no device was left"
                                            : absl::StrJoin(aborted_, "; "));
  }
  // With a sum, the server stays until it is saved, to tell the devices.
  if (!result_.status.ok()) server_.reset();
  session_.reset();
  if (Done done = std::exchange(done_, nullptr)) done(std::move(result_));
}

void SecureSessions::Saved(absl::Time now) {
  Run([this, now] {
    if (server_ == nullptr || session_ != nullptr) return;
    for (const uint32_t group : finished_groups_) {
      Apply(now, server_->OnCheckpointed(now, group));
    }
    server_.reset();
  });
}

}  // namespace mledge
