#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "mledge/tests/coordinator/grpc/test_server.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;

class SecureStreamTest : public TestServer {
 protected:
  using Stream = grpc::ClientReaderWriter<v1::SecureAggregationRequest,
                                          v1::SecureAggregationResponse>;
  struct Call {
    std::unique_ptr<v1::DeviceService::Stub> stub;
    grpc::ClientContext context;
    std::unique_ptr<Stream> stream;
  };
  std::unique_ptr<Call> Open() {
    auto call = std::make_unique<Call>();
    call->stub = DeviceStub("device-1");
    SetDeadline(call->context);
    call->stream = call->stub->SecureAggregation(&call->context);
    return call;
  }
  static bool Join(Call& call, const std::string& assignment) {
    v1::SecureAggregationRequest request;
    request.mutable_join()->set_assignment_id(assignment);
    return call.stream->Write(request);
  }
  static bool Say(Call& call, const std::string& words) {
    v1::SecureAggregationRequest request;
    request.mutable_secagg()->mutable_leave()->set_reason(words);
    return call.stream->Write(request);
  }
  bool StreamEnds(int count) {
    for (int i = 0; i < 500; ++i) {
      if (coordinator_.streams_ended() == count) return true;
      absl::SleepFor(absl::Milliseconds(10));
    }
    return false;
  }
};

TEST_F(SecureStreamTest, PassesMessagesOnBothWaysUntilTheResult) {
  const auto call = Open();
  ASSERT_TRUE(Join(*call, "assignment-of-device-1"));
  v1::SecureAggregationResponse response;
  ASSERT_TRUE(call->stream->Read(&response));
  EXPECT_EQ(response.revocation_list().payload(), "a list");
  for (const char* const words : {"one", "two", "three"}) {
    ASSERT_TRUE(Say(*call, words));
    ASSERT_TRUE(call->stream->Read(&response));
    EXPECT_EQ(response.secagg().outcome().reason(), words);
  }
  ASSERT_TRUE(Say(*call, "enough"));
  ASSERT_TRUE(call->stream->Read(&response));
  EXPECT_EQ(response.result().outcome(), v1::UploadResult::TOO_LATE);
  EXPECT_FALSE(call->stream->Read(&response));
  EXPECT_TRUE(call->stream->Finish().ok());
  EXPECT_TRUE(StreamEnds(1));
}

TEST_F(SecureStreamTest, EndsWithTheDevice) {
  {
    const auto call = Open();
    ASSERT_TRUE(Join(*call, "assignment-of-device-1"));
    v1::SecureAggregationResponse response;
    ASSERT_TRUE(call->stream->Read(&response));
    call->context.TryCancel();
    EXPECT_EQ(call->stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(StreamEnds(1));
  // Also when it only says that it has nothing more to say.
  const auto call = Open();
  ASSERT_TRUE(Join(*call, "assignment-of-device-1"));
  v1::SecureAggregationResponse response;
  ASSERT_TRUE(call->stream->Read(&response));
  ASSERT_TRUE(call->stream->WritesDone());
  EXPECT_FALSE(call->stream->Finish().ok());
  EXPECT_TRUE(StreamEnds(2));
}

// As for a stream that its device has replaced, and when it shuts down.
TEST_F(SecureStreamTest, EndsWhenTheCoordinatorHasNothingMoreToSay) {
  const auto call = Open();
  ASSERT_TRUE(Join(*call, "assignment-of-device-1"));
  v1::SecureAggregationResponse response;
  ASSERT_TRUE(call->stream->Read(&response));
  ASSERT_TRUE(Say(*call, "drop it"));
  EXPECT_FALSE(call->stream->Read(&response));
  const grpc::Status status = call->stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("may come again"));
  EXPECT_TRUE(StreamEnds(1));
}

TEST_F(SecureStreamTest, RefusesWhatIsNoJoin) {
  const auto silent = Open();
  ASSERT_TRUE(Say(*silent, "hello"));
  grpc::Status status = silent->stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("begins with one join"));

  const auto twice = Open();
  ASSERT_TRUE(Join(*twice, "assignment-of-device-1"));
  ASSERT_TRUE(Join(*twice, "assignment-of-device-1"));
  v1::SecureAggregationResponse response;
  while (twice->stream->Read(&response)) {
  }
  EXPECT_EQ(twice->stream->Finish().error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);

  const auto others = Open();
  ASSERT_TRUE(Join(*others, "assignment-of-device-2"));
  EXPECT_EQ(others->stream->Finish().error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(SecureStreamTest, OperatorsHaveNoUpdates) {
  const auto stub = DeviceStub(pki_.Issue(Role::kOperator, "alice"));
  grpc::ClientContext context;
  SetDeadline(context);
  const auto stream = stub->SecureAggregation(&context);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

}  // namespace
}  // namespace mledge
