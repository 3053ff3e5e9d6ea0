#include "mledge/coordinator/grpc/device_calls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "mledge/tests/coordinator/grpc/test_server.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(DeviceCallsTest, LeasesAreCountedForEachDeviceAndRole) {
  DeviceCalls calls(2);
  const Peer device{DeviceId("d"), Peer::Role::kDevice};
  const Peer evaluator{DeviceId("d"), Peer::Role::kEvaluator};
  auto first = calls.Begin(device);
  const auto second = calls.Begin(device);
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_THAT(calls.Begin(device),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("d has 2 calls"), HasSubstr("again"))));
  EXPECT_THAT(calls.Begin(evaluator), IsOk());
  first->reset();
  EXPECT_THAT(calls.Begin(device), IsOk());
}

class CallsOfADeviceTest : public TestServer {
 protected:
  struct OpenCall {
    std::unique_ptr<v1::DeviceService::Stub> stub;
    grpc::ClientContext context;
    std::unique_ptr<
        grpc::ClientReaderWriter<v1::UploadRequest, v1::UploadResponse>>
        stream;
  };
  // An upload of which nothing ever comes, on a connection of its own.
  std::unique_ptr<OpenCall> Idle() {
    auto call = std::make_unique<OpenCall>();
    call->stub = DeviceStub("greedy");
    SetDeadline(call->context);
    call->stream = call->stub->Upload(&call->context);
    return call;
  }
  grpc::Status CheckIn(const std::string& device) {
    const auto stub = DeviceStub(device);
    grpc::ClientContext context;
    SetDeadline(context);
    v1::CheckInResponse response;
    return stub->CheckIn(&context, v1::CheckInRequest(), &response);
  }
  // The server takes up calls in its own time.
  grpc::StatusCode CheckInUntil(grpc::StatusCode wanted) {
    grpc::StatusCode code = CheckIn("greedy").error_code();
    for (int i = 0; i < 500 && code != wanted; ++i) {
      absl::SleepFor(absl::Milliseconds(10));
      code = CheckIn("greedy").error_code();
    }
    return code;
  }
};

TEST_F(CallsOfADeviceTest, AreBoundedOverAllItsConnections) {
  const int most =
      static_cast<int>(CoordinatorServer::Options().maximum_calls_of_a_device);
  std::vector<std::unique_ptr<OpenCall>> idle;
  for (int i = 0; i < most; ++i) idle.push_back(Idle());
  ASSERT_EQ(CheckInUntil(grpc::StatusCode::RESOURCE_EXHAUSTED),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(CheckIn("greedy").error_message(),
              AllOf(HasSubstr("greedy"), HasSubstr("try again")));
  const grpc::Status upload = Idle()->stream->Finish();
  EXPECT_EQ(upload.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  {
    // A fetch must be tried again, and at RESOURCE_EXHAUSTED it is not.
    const auto stub = DeviceStub("greedy");
    grpc::ClientContext context;
    SetDeadline(context);
    v1::FetchRequest request;
    request.set_sha256(coordinator_.AddBlob("blob").ToBytes());
    EXPECT_EQ(stub->Fetch(&context, request)->Finish().error_code(),
              grpc::StatusCode::UNAVAILABLE);
  }
  EXPECT_TRUE(CheckIn("modest").ok());
  for (const auto& call : idle) call->context.TryCancel();
  EXPECT_EQ(CheckInUntil(grpc::StatusCode::OK), grpc::StatusCode::OK);
}

}  // namespace
}  // namespace mledge
