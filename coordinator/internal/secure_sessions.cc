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

// Streams, masked inputs, and one session after the other. How a session begins
// is in secure_sessions_offer.cc, what becomes of it in
// secure_sessions_effects.cc.

namespace mledge {

absl::StatusOr<SecureSessions::Kind> SecureSessions::MakeKind(
    const secagg::ServerOptions& server, const Terms& terms) {
  MLEDGE_ASSIGN_OR_RETURN(secagg::UpdateCodec codec,
                          secagg::UpdateCodec::Create(terms.codec));
  if (terms.largest_group > 0 &&
      terms.largest_group < 2 * terms.least_devices) {
    return absl::InvalidArgumentError(
        StrCat("secure_aggregation.group_size is ", terms.largest_group,
               "; groups can be half of that, and each needs at least ",
               terms.least_devices, " devices"));
  }
  const absl::StatusOr<secagg::SecaggParameters> parameters =
      secagg::FindParameters(
          {.clients = terms.largest_group > 0 ? terms.largest_group
                                              : terms.maximum_devices(),
           .corrupt_fraction = server.corrupt_fraction,
           .dropout_fraction = server.dropout_fraction,
           .sigma = secagg::SigmaForSessions(server.sigma,
                                             server.registrar_sessions_per_day),
           .eta = server.eta,
           .threat_model = server.threat_model,
           .graph = server.graph});
  if (!parameters.ok()) {
    return Annotate(parameters.status(), "secure_aggregation");
  }
  return Kind{terms, std::move(codec)};
}

// Everything from the offer to the last unmasking share, and a little more.
absl::Duration SecureSessions::LifetimeOf(
    const secagg::ServerOptions& options) {
  return options.advertise_time + options.share_time +
         options.masked_input_time + options.consistency_time +
         options.unmask_time + absl::Minutes(1);
}

absl::Status SecureSessions::Check(const Options& options) {
  MLEDGE_RETURN_IF_ERROR(MakeKind(options.server, options.training).status());
  if (options.evaluation.has_value()) {
    MLEDGE_RETURN_IF_ERROR(
        Annotate(MakeKind(options.server, *options.evaluation).status(),
                 "evaluation on devices"));
  }
  if (LifetimeOf(options.server) > secagg::ClientPolicy().maximum_lifetime) {
    return absl::InvalidArgumentError(
        "secure_aggregation.step_deadline is so long that a session could last "
        "longer than devices allow, 30 minutes; write at most 5m");
  }
  return absl::OkStatus();
}

SecureSessions::SecureSessions(Options options, Environment environment)
    : options_(std::move(options)),
      environment_(std::move(environment)),
      training_(MakeKind(options_.server, options_.training).value()),
      evaluation_(
          options_.evaluation.has_value()
              ? std::optional(
                    MakeKind(options_.server, *options_.evaluation).value())
              : std::nullopt),
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
    streams_.Clear();
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

bool SecureSessions::IsMember(const AssignmentId& assignment) const {
  return session_ != nullptr && server_ != nullptr &&
         session_->job.members.contains(assignment);
}

void SecureSessions::Join(absl::Time now, const AssignmentId& assignment,
                          const DeviceId& device, uint64_t stream,
                          Coordinator::SecureSink sink) {
  Run([this, now, assignment, device, stream, sink = std::move(sink)] {
    streams_.Join(assignment, device, stream, sink);
    // Between sessions there is no list that is fresh for sure.
    if (IsMember(assignment)) {
      v1::SecureAggregationResponse response;
      *response.mutable_revocation_list() = *revocation_list_;
      streams_.Send(assignment, response);
      Apply(now, server_->OnConnected(now, device).effects);
    }
  });
}

void SecureSessions::Leave(const AssignmentId& assignment, uint64_t stream) {
  Run([this, assignment, stream] { streams_.Leave(assignment, stream); });
}

void SecureSessions::EndStreams() {
  Run([this] { streams_.Clear(); });
}

void SecureSessions::OnMessage(absl::Time now, const AssignmentId& assignment,
                               uint64_t stream,
                               const v1::SecaggDeviceMessage& message,
                               std::shared_ptr<const void> pending) {
  Run([this, now, assignment, stream, message, pending] {
    const DeviceId* const device = streams_.DeviceOf(assignment, stream);
    if (device == nullptr || !IsMember(assignment)) {
      return;  // of a session that is over
    }
    secagg::ServerReaction reaction = server_->OnMessage(now, *device, message);
    if (!reaction.status.ok()) {
      LOG(WARNING) << "secure aggregation of round " << session_->job.round
                   << ": message of device " << *device << ": "
                   << reaction.status;
    }
    Apply(now, std::move(reaction.effects));
  });
}

void SecureSessions::EndAssignment(const AssignmentId& assignment,
                                   const v1::UploadResult& result) {
  Run([this, assignment, result] { streams_.End(assignment, result); });
}

void SecureSessions::OnMaskedInput(
    absl::Time now, const AssignmentId& assignment, const Digest& session,
    const Digest& content, std::function<absl::StatusOr<std::string>()> read,
    std::function<void(absl::StatusOr<v1::UploadResult>)> done) {
  Run([this, now, assignment, session, content, read = std::move(read),
       done = std::move(done)] {
    if (!IsMember(assignment)) {
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
    TellCounted(now);
    session_ = std::make_unique<const Session>(std::move(*begun));
    done_ = done;
    result_ = Result();
    result_.sum = std::move(*shared_sum);
    inputs_.clear();
    ask_again_.clear();
    aborted_.clear();
    ended_groups_.clear();
    assignment_of_.clear();
    for (const auto& [assignment, device] : session_->job.members) {
      assignment_of_[device] = assignment;
    }
    environment_.services->revocation_list(InSession<v1::SignedMessage>(
        now, [this](absl::Time later, absl::StatusOr<v1::SignedMessage> list) {
          OnRevocationList(later, std::move(list));
        }));
  });
}

const SecureSessions::Kind& SecureSessions::KindOfSession() const {
  return session_->job.kind == AssignmentKind::kTrain ? training_
                                                      : *evaluation_;
}

void SecureSessions::GiveUp(const absl::Status& why) {
  aborted_.push_back(std::string(why.message()));
  Finish();
}

void SecureSessions::Abort(absl::Time now, const std::string& reason) {
  Run([this, now, reason] {
    if (session_ == nullptr) return;
    if (server_ != nullptr) {
      Apply(now, server_->Abort(now, absl::CancelledError(reason)));
    } else {
      GiveUp(absl::CancelledError(reason));
    }
  });
}

void SecureSessions::Saved(absl::Time now) {
  Run([this, now] { TellCounted(now); });
}

void SecureSessions::TellCounted(absl::Time now) {
  if (session_ != nullptr || server_ == nullptr) return;
  for (const uint32_t group : finished_groups_) {
    Apply(now, server_->OnCheckpointed(now, group));
  }
  finished_groups_.clear();
  server_.reset();
}

}  // namespace mledge
