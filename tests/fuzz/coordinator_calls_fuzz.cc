#include <google/protobuf/stubs/logging.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mledge/core/logging.h"
#include "mledge/tests/coordinator/support/coordinator_harness.h"
#include "mledge/tests/fuzz/fuzz_input.h"

// A sequence of calls of three devices: each is a byte for the call and the
// device, a byte for the length, and that much of a message or of an update's
// bytes. No call may end the process, and after all of them an honest device
// can still do its work.

namespace mledge {
namespace {

template <typename Message>
Message ParseOrEmpty(std::string_view bytes) {
  Message message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    message.Clear();
  }
  return message;
}

class Calls {
 public:
  Calls() {
    CHECK(harness_
              .Submit({.size = 2,
                       .rounds = 3,
                       .evaluate_every = 1,
                       .evaluation_devices = 1})
              .ok());
  }

  void Make(uint8_t what, std::string_view bytes) {
    const std::string device(1, static_cast<char>('a' + what / 8 % 3));
    const bool known = what / 32 % 2 == 0;
    const Peer peer{DeviceId(device), what / 64 % 4 == 3
                                          ? Peer::Role::kEvaluator
                                          : Peer::Role::kDevice};
    Coordinator& coordinator = *harness_.coordinator;
    switch (what % 8) {
      case 0:
      case 1: {
        auto request = ParseOrEmpty<v1::CheckInRequest>(bytes);
        if (known) {
          request.set_protocol_version(1);
          request.set_population("default");
        }
        coordinator.CheckIn(
            harness_.now, peer, request, harness_.now,
            [this](const absl::StatusOr<v1::CheckInResponse>& answer) {
              if (answer.ok() && answer->has_assignment()) {
                assignment_ = answer->assignment();
              }
            });
        break;
      }
      case 2: {
        auto header = ParseOrEmpty<v1::UploadHeader>(bytes);
        if (known) header.set_assignment_id(assignment_.assignment_id());
        Upload(peer, header, bytes);
        break;
      }
      case 3: {  // a header that fits its bytes
        std::string file(bytes);
        if (known) {
          file =
              MakeTestUpdateFile(assignment_.assignment_id(),
                                 assignment_.kind() == v1::Assignment::TRAIN);
          for (size_t i = 0; i < bytes.size() && i < file.size(); ++i) {
            file[file.size() - 1 - i] ^= bytes[i];
          }
        }
        const v1::UploadHeader header =
            MakeTestUploadHeader(assignment_.assignment_id(), file);
        Upload(peer, header, file);
        break;
      }
      case 4: {
        auto request = ParseOrEmpty<v1::ReportRequest>(bytes);
        if (known) request.set_assignment_id(assignment_.assignment_id());
        coordinator.Report(harness_.now, peer, request,
                           [](const absl::StatusOr<v1::ReportResponse>&) {});
        break;
      }
      case 5: {
        auto request = ParseOrEmpty<v1::SecureAggregationJoin>(bytes);
        if (known) request.set_assignment_id(assignment_.assignment_id());
        const auto stream = coordinator.JoinSecureAggregation(
            harness_.now, peer, request,
            [](const v1::SecureAggregationResponse&) {});
        if (stream.ok()) {
          (*stream)->OnMessage(harness_.now,
                               ParseOrEmpty<v1::SecaggDeviceMessage>(bytes));
        }
        break;
      }
      case 6: {
        const auto name = Digest::FromBytes(
            known ? std::string_view(assignment_.parameters().sha256())
                  : bytes);
        if (name.ok()) (void)coordinator.OpenBlob(peer, *name);
        (void)coordinator.GetTask(TaskId(std::string(bytes)));
        (void)coordinator.OpenModel(TaskId(known ? "task" : std::string(bytes)),
                                    VersionNumber(bytes.size()));
        break;
      }
      default:
        harness_.Advance(absl::Seconds(10 * bytes.size()));
        (void)coordinator.ListTasks();
        (void)coordinator.ListDevices();
    }
  }

  // Whoever is honest is served as if nothing had been.
  void CheckServes() {
    CHECK(harness_.Submit({.name = "next", .size = 1, .rounds = 1}).ok());
    harness_.coordinator->CancelTask(
        harness_.now, TaskId("task"),
        [](const absl::StatusOr<v1::CancelTaskResponse>&) {});
    harness_.Advance(absl::Hours(1));
    const auto call = harness_.CheckIn("honest");
    CHECK(call->has_assignment());
    const auto result = harness_.Upload("honest", call->assignment());
    CHECK(result.ok()) << result.status();
    CHECK(result->outcome() == v1::UploadResult::ACKNOWLEDGED)
        << result->reason();
  }

 private:
  void Upload(const Peer& peer, const v1::UploadHeader& header,
              std::string_view bytes) {
    auto start = harness_.coordinator->BeginUpload(harness_.now, peer, header);
    if (!start.ok() || start->result.has_value()) return;
    if (start->writer->offset() > bytes.size()) return;
    bytes.remove_prefix(start->writer->offset());
    if (!start->writer
             ->Append(
                 {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()})
             .ok()) {
      return;
    }
    harness_.coordinator->FinishUpload(
        harness_.now, peer, header, std::move(start->writer),
        [](const absl::StatusOr<v1::UploadResult>&) {});
  }

  CoordinatorHarness harness_;
  v1::Assignment assignment_;  // handed out last
};

void FuzzOne(std::string_view bytes) {
  // Protobuf reports each name that is not UTF-8.
  google::protobuf::SetLogHandler(nullptr);
  Calls calls;
  FuzzInput input(bytes);
  while (!input.empty()) {
    const uint8_t what = input.Byte();
    calls.Make(what, input.Field());
  }
  calls.CheckServes();
}

}  // namespace
}  // namespace mledge

// What it logs of each refusal would be most of the work.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  mledge::InitializeLogging({.minimum_severity = mledge::LogSeverity::kFatal});
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mledge::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
