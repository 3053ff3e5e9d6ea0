#include "mledge/simulation/internal/fleet.h"

#include <limits>
#include <numeric>
#include <utility>
#include <variant>

#include "mledge/client/uploader.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/core/version.h"

namespace mledge::simulation_internal {
namespace {

constexpr char kEvaluatorId[] = "evaluator";

// What its signatures cost beyond their real size.
uint64_t Surcharge(const v1::SignedMessage& message) {
  return ChargedSize(message) - message.ByteSizeLong();
}

uint64_t SizeOnTheWire(const v1::CheckInResponse& answer) {
  uint64_t size = answer.ByteSizeLong();
  if (!answer.has_assignment()) return size;
  size += Surcharge(answer.assignment().version_statement());
  if (answer.assignment().has_ledger()) {
    size += Surcharge(answer.assignment().ledger().head());
  }
  return size;
}

uint64_t SizeOnTheWire(const v1::CheckInRequest& request) {
  uint64_t size = request.ByteSizeLong();
  for (const v1::SignedMessage& head : request.ledger_heads()) {
    size += Surcharge(head);
  }
  return size;
}

}  // namespace

uint64_t ChargedSize(const v1::SignedMessage& message) {
  constexpr uint64_t kSignature = 72;     // ECDSA P-256 in DER, at most
  constexpr uint64_t kCertificate = 640;  // ours, at most
  uint64_t size = message.ByteSizeLong() - message.signature().size();
  for (const std::string& certificate : message.certificates()) {
    size -= certificate.size();
  }
  return size + kSignature + kCertificate * message.certificates_size();
}

Fleet::Fleet(Options options, EventQueue* queue, Coordinator* coordinator,
             TrainingPool* pool)
    : options_(std::move(options)),
      queue_(queue),
      pool_(pool),
      link_(coordinator, options_.wire),
      devices_(options_.partition->devices() +
               (options_.test_data == nullptr ? 0 : 1)) {
  if (options_.test_data != nullptr) {
    all_test_examples_.resize(options_.test_data->size());
    std::iota(all_test_examples_.begin(), all_test_examples_.end(), int64_t{0});
  }
}

DeviceId Fleet::IdOf(int64_t device) const {
  return DeviceId(IsEvaluator(device) ? kEvaluatorId
                                      : SimulatedDeviceId(device, devices()));
}

Peer Fleet::PeerOf(int64_t device) const {
  return {IdOf(device),
          IsEvaluator(device) ? Peer::Role::kEvaluator : Peer::Role::kDevice};
}

DeviceSession Fleet::MakeSession(int64_t device) const {
  DeviceSession::Options options;
  options.device = IdOf(device);
  options.policy.role = IsEvaluator(device) ? AssignmentPolicy::Role::kEvaluator
                                            : AssignmentPolicy::Role::kDevice;
  options.policy.population = options_.population;
  if (options_.secure != nullptr) {
    options.policy.secure = {
        .allow_semi_honest = true,
        .least_devices = options_.secure->policy().session.least_clients};
  }
  options.software = StrCat("mledge ", GetBuildInfo().version);
  // Nothing is lost between these two ends, so no answer is given up.
  options.check_in_timeout = absl::InfiniteDuration();
  options.transfer_timeout = absl::InfiniteDuration();
  options.report_timeout = absl::InfiniteDuration();
  // Whoever simulates sees the claims, which are the deployment's.
  options.privacy.epsilon_limit = std::numeric_limits<double>::infinity();
  options.privacy.delta_limit = 1;
  DeviceSession session(std::move(options), options_.cache);
  absl::StatusOr<PrivacyLedger> ledger =
      PrivacyLedger::Restore(devices_[device].privacy_records);
  CHECK(ledger.ok()) << ledger.status();
  session.RestorePrivacy(*std::move(ledger));
  return session;
}

absl::Duration Fleet::Up(int64_t device, uint64_t bytes) {
  if (IsEvaluator(device)) return absl::ZeroDuration();
  traffic_.up_in_bytes += bytes;
  return options_.model->SpeedOf(IdOf(device).value()).UploadTime(bytes);
}

absl::Duration Fleet::Down(int64_t device, uint64_t bytes) {
  if (IsEvaluator(device)) return absl::ZeroDuration();
  traffic_.down_in_bytes += bytes;
  return options_.model->SpeedOf(IdOf(device).value()).DownloadTime(bytes);
}

void Fleet::Start() {
  std::shared_ptr<const v1::CheckInRequest> request;
  for (int64_t d = 0; d < static_cast<int64_t>(devices_.size()); ++d) {
    if (request == nullptr || IsEvaluator(d)) request = FirstRequest(d);
    CheckIn(d, CallId(), request);
  }
}

void Fleet::Disconnect() {
  for (Device& device : devices_) {
    ++device.generation;
    device.active.reset();
  }
}

void Fleet::RoundClosed(int64_t round) {
  for (Device& device : devices_) {
    if (device.active == nullptr || device.active->run == nullptr) continue;
    Active& active = *device.active;
    const v1::Assignment* assignment = active.session.assignment();
    if (assignment == nullptr || assignment->round() != round ||
        assignment->kind() != v1::Assignment::TRAIN) {
      continue;
    }
    active.run->Cancel();
    active.skipped = true;
  }
}

void Fleet::React(absl::Time time, int64_t device, Reaction reaction) {
  const uint32_t generation = devices_[device].generation;
  queue_->Push(time,
               [this, device, generation, reaction = std::move(reaction)] {
                 Device& state = devices_[device];
                 if (state.generation != generation || state.active == nullptr)
                   return;
                 CarryOut(device, reaction(*state.active));
               });
}

void Fleet::CarryOut(int64_t device, Effects effects) {
  bool checks_in = false;
  for (Effect& effect : effects) {
    checks_in = checks_in || std::holds_alternative<SendCheckIn>(effect);
    std::visit([&](auto& e) { Do(device, std::move(e)); }, effect);
  }
  // A session without failures is as good as a new one between assignments.
  Device& state = devices_[device];
  if (!checks_in || state.active == nullptr) return;
  const DeviceSession::Counters& counters = state.active->session.counters();
  if (counters.failed + counters.refused + counters.expired == 0) {
    state.active.reset();
  }
}

void Fleet::Do(int64_t device, SendCheckIn effect) {
  CheckIn(
      device, effect.call,
      std::make_shared<const v1::CheckInRequest>(std::move(effect.request)));
}

void Fleet::CheckIn(int64_t device, CallId call,
                    std::shared_ptr<const v1::CheckInRequest> request) {
  const uint32_t generation = devices_[device].generation;
  const absl::Time arrives =
      queue_->now() + Up(device, SizeOnTheWire(*request));
  queue_->Push(
      arrives, [this, device, call, generation, request = std::move(request)] {
        if (devices_[device].generation != generation) return;
        link_.CheckIn(
            queue_->now(), PeerOf(device), *request,
            [this, device, call,
             generation](absl::StatusOr<v1::CheckInResponse> answer) {
              const uint64_t bytes = answer.ok() ? SizeOnTheWire(*answer) : 0;
              const absl::Time time = queue_->now() + Down(device, bytes);
              queue_->Push(time, [this, device, call, generation,
                                  answer = std::move(answer)] {
                if (devices_[device].generation == generation) {
                  AnswerCheckIn(device, call, answer);
                }
              });
            });
      });
}

std::shared_ptr<const v1::CheckInRequest> Fleet::FirstRequest(
    int64_t device) const {
  DeviceSession session = MakeSession(device);
  for (Effect& effect : session.Start(queue_->now())) {
    if (auto* check_in = std::get_if<SendCheckIn>(&effect)) {
      return std::make_shared<const v1::CheckInRequest>(
          std::move(check_in->request));
    }
  }
  LOG(FATAL) << "a new session does not check in";
  return nullptr;
}

void Fleet::AnswerCheckIn(int64_t device, CallId call,
                          absl::StatusOr<v1::CheckInResponse> answer) {
  Device& state = devices_[device];
  if (state.active == nullptr) {
    state.active = std::make_unique<Active>(MakeSession(device));
    for (const Effect& effect : state.active->session.Start(queue_->now())) {
      if (const auto* check_in = std::get_if<SendCheckIn>(&effect)) {
        call = check_in->call;
      }
    }
  }
  CarryOut(device, state.active->session.OnCheckInAnswer(queue_->now(), call,
                                                         std::move(answer)));
}

void Fleet::Do(int64_t device, FetchBlob effect) {
  Device& state = devices_[device];
  const v1::Assignment* assignment = state.active->session.assignment();
  const auto names = [&](const v1::Blob& blob) {
    return assignment != nullptr && blob.sha256() == effect.digest.ToBytes();
  };
  bool* kept = nullptr;
  if (assignment != nullptr && names(assignment->signed_task())) {
    kept = &state.has_task;
  } else if (assignment != nullptr && names(assignment->package())) {
    kept = &state.has_package;
  }
  absl::Time arrives = queue_->now();
  if (kept == nullptr || !*kept) {
    v1::FetchRequest request;
    request.set_sha256(effect.digest.ToBytes());
    const auto charged = charged_sizes_.find(effect.digest);
    arrives += Up(device, request.ByteSizeLong()) +
               Down(device, ChunkedBytes(charged == charged_sizes_.end()
                                             ? effect.size_in_bytes
                                             : charged->second,
                                         kFetchChunkInBytes));
  }
  if (kept != nullptr) *kept = true;
  React(arrives, device, [this, device, effect](Active& active) {
    return active.session.OnFetched(queue_->now(), effect.call,
                                    link_.Fetch(PeerOf(device), effect.digest));
  });
}

void Fleet::Do(int64_t device, Persist effect) {
  if (effect.charge.has_value()) {
    devices_[device].privacy_records[effect.charge->task] =
        std::move(effect.charge->record);
  }
  React(queue_->now(), device, [this, call = effect.call](Active& active) {
    return active.session.OnPersisted(queue_->now(), call, absl::OkStatus());
  });
}

void Fleet::Vanish(int64_t device, absl::Time comes_back) {
  Device& state = devices_[device];
  ++vanished_;
  ++state.generation;
  state.active.reset();
  queue_->Push(comes_back, [this, device] {
    CheckIn(device, CallId(), FirstRequest(device));
  });
}

void Fleet::Do(int64_t device, Upload effect) {
  const v1::UploadHeader header =
      MakeUploadHeader(effect.assignment, effect.update);
  React(queue_->now() + Up(device, header.ByteSizeLong()), device,
        [this, device, effect](Active&) {
          BeginUpload(device, effect);
          return Effects();
        });
}

void Fleet::BeginUpload(int64_t device, const Upload& effect) {
  const v1::UploadHeader header =
      MakeUploadHeader(effect.assignment, effect.update);
  const uint32_t generation = devices_[device].generation;
  const auto answer = [this, device, generation, call = effect.call](
                          absl::StatusOr<v1::UploadResult> result) {
    if (devices_[device].generation != generation) return;
    const uint64_t bytes = result.ok() ? result->ByteSizeLong() : 0;
    React(queue_->now() + Down(device, bytes), device,
          [this, call, result = std::move(result)](Active& active) {
            return active.session.OnUploadAnswer(queue_->now(), call, result);
          });
  };
  absl::StatusOr<Coordinator::UploadStart> start =
      link_.BeginUpload(queue_->now(), PeerOf(device), header);
  if (!start.ok()) return answer(start.status());
  if (start->result.has_value()) return answer(*start->result);

  const uint64_t left = header.size_in_bytes() - start->writer->offset();
  const absl::Time ends =
      queue_->now() + Up(device, ChunkedBytes(left, kUploadChunkInBytes));
  // In a holder, because events must be copyable.
  auto writer =
      std::make_shared<std::unique_ptr<SpoolWriter>>(std::move(start->writer));
  React(ends, device, [this, device, header, writer, answer](Active& active) {
    const UpdateContext context{AssignmentId(header.assignment_id()),
                                active.job->package->layout->fingerprint()};
    link_.FinishUpload(queue_->now(), PeerOf(device), header,
                       std::move(*writer),
                       active.trained.has_value() ? &*active.trained : nullptr,
                       context, answer);
    return Effects();
  });
}

void Fleet::Do(int64_t device, SendReport effect) {
  const absl::Time arrives =
      queue_->now() + Up(device, effect.request.ByteSizeLong());
  React(arrives, device, [this, device, effect](Active&) {
    link_.Report(
        queue_->now(), PeerOf(device), effect.request,
        [this, device,
         call = effect.call](absl::StatusOr<v1::ReportResponse> answer) {
          React(queue_->now(), device,
                [this, call, status = answer.status()](Active& active) {
                  return active.session.OnReportAnswer(queue_->now(), call,
                                                       status);
                });
        });
    return Effects();
  });
}

void Fleet::Do(int64_t device, Forget) {
  Active& active = *devices_[device].active;
  active.update = nullptr;
  active.job = nullptr;
  active.run = nullptr;
  active.trained.reset();
}

void Fleet::Do(int64_t device, WakeAt effect) {
  devices_[device].active->wake_at = effect.time;
  if (effect.time == absl::InfiniteFuture()) return;
  React(effect.time, device, [this, time = effect.time](Active& active) {
    if (active.wake_at != time) return Effects();
    return active.session.OnWake(queue_->now());
  });
}

void Fleet::Do(int64_t device, Notice effect) {
  if (options_.on_notice) options_.on_notice(IdOf(device).value(), effect);
}

}  // namespace mledge::simulation_internal
