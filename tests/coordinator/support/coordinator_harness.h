#ifndef MLEDGE_TESTS_COORDINATOR_SUPPORT_COORDINATOR_HARNESS_H_
#define MLEDGE_TESTS_COORDINATOR_SUPPORT_COORDINATOR_HARNESS_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/coordinator/memory_storage.h"
#include "mledge/tests/coordinator/support/faulty_storage.h"
#include "mledge/tests/coordinator/support/test_task.h"

// A coordinator over memory in virtual time, and the calls of devices as plain
// functions. Everything happens within the calls.

namespace mledge {

class CoordinatorHarness {
 public:
  explicit CoordinatorHarness(Coordinator::Options options = {})
      : options_(options) {
    options_.synchronous = true;
    Start();
  }

  MemoryStorage memory;
  FaultyStorage storage{&memory};
  absl::Time now = absl::FromUnixSeconds(1767225600);
  absl::Time wake_at = absl::InfiniteFuture();
  std::vector<absl::Status> taken_over;
  std::unique_ptr<Coordinator> coordinator;
  // Of private tasks; null: the system's.
  SecretRandom* noise_random = nullptr;
  // Of the signer of ledger heads.
  absl::Status signing = absl::OkStatus();
  // As a simulator's; 0: no simulation.
  int64_t noise_cohort = 0;

  // Every coordinator here signs with one key.
  static absl::StatusOr<v1::SignedMessage> SignLedgerHead(
      const v1::LedgerHead& head) {
    v1::SignedMessage message;
    message.set_context("ledger-head");
    message.set_payload(head.SerializeAsString());
    message.set_signature("the coordinator's");
    return message;
  }
  static absl::Status VerifyLedgerHead(const v1::SignedMessage& message,
                                       absl::Time) {
    return message.signature() == "the coordinator's"
               ? absl::OkStatus()
               : absl::PermissionDeniedError("signed by somebody else");
  }

  void Start() {
    coordinator.reset();
    wake_at = absl::InfiniteFuture();
    coordinator =
        Coordinator::Create(
            options_,
            {.storage = &storage,
             .sign_version =
                 [](const v1::VersionStatement& statement) {
                   v1::SignedMessage message;
                   message.set_context("model-version");
                   message.set_payload(statement.SerializeAsString());
                   return absl::StatusOr<v1::SignedMessage>(message);
                 },
             .wake_at =
                 [this](absl::Time at) { wake_at = std::min(wake_at, at); },
             .on_taken_over =
                 [this](const absl::Status& why) { taken_over.push_back(why); },
             .privacy = {.random = noise_random,
                         .noise_cohort = noise_cohort,
                         .sign_ledger_head =
                             [this](const v1::LedgerHead& head) {
                               return signing.ok()
                                          ? SignLedgerHead(head)
                                          : absl::StatusOr<v1::SignedMessage>(
                                                signing);
                             },
                         .verify_ledger_head = &VerifyLedgerHead}},
            now)
            .value();
  }
  // As after kill -9. Precondition: no writer is open.
  void Crash() {
    storage.CrashAfter(0, false);
    coordinator.reset();
    storage.Restart();
    Start();
  }

  void Advance(absl::Duration by) {
    const absl::Time end = now + by;
    while (wake_at <= end) {
      now = std::max(now, wake_at);
      wake_at = absl::InfiniteFuture();
      coordinator->Tick(now);
    }
    now = end;
  }

  absl::StatusOr<TaskId> Submit(const TestTaskOptions& options) {
    absl::StatusOr<TaskId> result = absl::UnknownError("no answer");
    coordinator->SubmitTask(now, MakeSubmission(MakeTestTask(options)),
                            [&](absl::StatusOr<TaskId> id) { result = id; });
    return result;
  }

  struct Call {
    std::optional<absl::StatusOr<v1::CheckInResponse>> answer;
    bool has_assignment() const {
      return answer.has_value() && answer->ok() && (*answer)->has_assignment();
    }
    bool told_to_come_back() const {
      return answer.has_value() && answer->ok() && (*answer)->has_come_back();
    }
    const v1::Assignment& assignment() const {
      return answer->value().assignment();
    }
  };
  // What devices show at their check-ins.
  std::map<std::string, v1::SignedMessage> ledger_heads;
  // The answer may come later: look at the call again.
  std::shared_ptr<Call> CheckIn(const std::string& device,
                                absl::Duration wait = absl::Hours(100),
                                Peer::Role role = Peer::Role::kDevice,
                                const std::string& population = "default") {
    v1::CheckInRequest request;
    request.set_protocol_version(1);
    request.set_population(population);
    if (const auto known = ledger_heads.find(device);
        known != ledger_heads.end()) {
      *request.add_ledger_heads() = known->second;
    }
    auto call = std::make_shared<Call>();
    coordinator->CheckIn(now, {DeviceId(device), role}, request, now + wait,
                         [call](absl::StatusOr<v1::CheckInResponse> answer) {
                           call->answer = std::move(answer);
                         });
    return call;
  }

  absl::StatusOr<v1::UploadResult> UploadFile(
      const std::string& device, const std::string& assignment,
      const std::string& file, Peer::Role role = Peer::Role::kDevice) {
    const Peer peer{DeviceId(device), role};
    const v1::UploadHeader header = MakeTestUploadHeader(assignment, file);
    absl::StatusOr<Coordinator::UploadStart> start =
        coordinator->BeginUpload(now, peer, header);
    if (!start.ok()) return start.status();
    if (start->result.has_value()) return *start->result;
    const std::string rest = file.substr(start->writer->offset());
    if (absl::Status s = start->writer->Append(
            {reinterpret_cast<const uint8_t*>(rest.data()), rest.size()});
        !s.ok()) {
      return s;
    }
    absl::StatusOr<v1::UploadResult> result = absl::UnknownError("no answer");
    coordinator->FinishUpload(
        now, peer, header, std::move(start->writer),
        [&](absl::StatusOr<v1::UploadResult> r) { result = std::move(r); });
    return result;
  }
  absl::StatusOr<v1::UploadResult> Upload(
      const std::string& device, const v1::Assignment& assignment,
      Peer::Role role = Peer::Role::kDevice) {
    return UploadFile(
        device, assignment.assignment_id(),
        MakeTestUpdateFile(assignment.assignment_id(),
                           assignment.kind() == v1::Assignment::TRAIN),
        role);
  }

  absl::Status Report(const std::string& device,
                      const v1::Assignment& assignment,
                      Peer::Role role = Peer::Role::kDevice) {
    v1::ReportRequest request;
    request.set_assignment_id(assignment.assignment_id());
    request.set_reason("no data");
    absl::Status result = absl::UnknownError("no answer");
    coordinator->Report(now, {DeviceId(device), role}, request,
                        [&](absl::StatusOr<v1::ReportResponse> response) {
                          result = response.status();
                        });
    return result;
  }

  v1::TaskSummary Summary(const std::string& task = "task") {
    return coordinator->GetTask(TaskId(task)).value().summary();
  }

  std::vector<v1::TaskEvent> Events(const std::string& task = "task") {
    std::vector<v1::TaskEvent> events;
    const std::vector<EventRecord> records =
        memory.ReadEvents(TaskId(task), 0).value();
    for (const EventRecord& record : records) {
      events.emplace_back().ParseFromString(record.event);
    }
    return events;
  }

  // The newest version's parameters, as bytes.
  std::string Parameters(const std::string& task = "task") {
    const auto blobs =
        coordinator->OpenModel(TaskId(task), std::nullopt).value();
    return blobs.parameters->Read(0, blobs.parameters->size_in_bytes()).value();
  }

 private:
  Coordinator::Options options_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_COORDINATOR_SUPPORT_COORDINATOR_HARNESS_H_
