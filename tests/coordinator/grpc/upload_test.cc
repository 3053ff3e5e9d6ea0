#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "mledge/tests/coordinator/grpc/test_server.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;

std::string Content(size_t size) {
  std::string content(size, '\0');
  for (size_t i = 0; i < size; ++i) {
    content[i] = static_cast<char>(i * 7 % 253);
  }
  return content;
}

class UploadTest : public TestServer {
 protected:
  static constexpr char kAssignment[] = "assignment-of-device-1";

  struct Call {
    grpc::ClientContext context;
    std::unique_ptr<
        grpc::ClientReaderWriter<v1::UploadRequest, v1::UploadResponse>>
        stream;
  };
  std::unique_ptr<Call> Open() {
    if (stub_ == nullptr) stub_ = DeviceStub("device-1");
    auto call = std::make_unique<Call>();
    SetDeadline(call->context);
    call->stream = stub_->Upload(&call->context);
    return call;
  }
  static bool SendHeader(Call& call, const std::string& content,
                         const std::string& assignment = kAssignment) {
    v1::UploadRequest request;
    request.mutable_header()->set_assignment_id(assignment);
    request.mutable_header()->set_content_sha256(
        Sha256Of(std::string_view(content)).ToBytes());
    request.mutable_header()->set_size_in_bytes(content.size());
    return call.stream->Write(request);
  }
  static bool SendChunk(Call& call, std::string_view bytes) {
    v1::UploadRequest request;
    request.set_chunk(std::string(bytes));
    return call.stream->Write(request);
  }
  // Sends the whole content, from where the server wants it.
  grpc::Status Upload(const std::string& content, v1::UploadResult* result,
                      uint64_t* resumed_at = nullptr, size_t chunk = 1 << 20) {
    const auto call = Open();
    SendHeader(*call, content);
    v1::UploadResponse response;
    while (call->stream->Read(&response)) {
      if (response.has_result()) *result = response.result();
      if (!response.has_resume()) continue;
      if (resumed_at != nullptr) *resumed_at = response.resume().offset();
      for (size_t i = response.resume().offset(); i < content.size();
           i += chunk) {
        SendChunk(*call, std::string_view(content).substr(i, chunk));
      }
    }
    return call->stream->Finish();
  }
  // Waits until the server has let go of the broken upload.
  FakeCoordinator::Upload WaitUntilClosed() {
    while (coordinator_.upload(kAssignment).is_open) {
      std::this_thread::yield();
    }
    return coordinator_.upload(kAssignment);
  }

  std::unique_ptr<v1::DeviceService::Stub> stub_;
};

class UploadOfSizeTest : public UploadTest,
                         public ::testing::WithParamInterface<size_t> {};

TEST_P(UploadOfSizeTest, AcknowledgesWhatArrivedWhole) {
  const std::string content = Content(GetParam());
  v1::UploadResult result;
  const grpc::Status status = Upload(content, &result);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(result.outcome(), v1::UploadResult::ACKNOWLEDGED);
  EXPECT_EQ(coordinator_.upload(kAssignment).bytes, content);
}

INSTANTIATE_TEST_SUITE_P(Sizes, UploadOfSizeTest,
                         ::testing::Values(1, 100, 1 << 20, (3 << 20) + 17));

TEST_F(UploadTest, SameContentAgainIsASuccess) {
  v1::UploadResult result;
  ASSERT_TRUE(Upload(Content(1000), &result).ok());
  v1::UploadResult again;
  ASSERT_TRUE(Upload(Content(1000), &again).ok());
  EXPECT_EQ(again.outcome(), v1::UploadResult::ACKNOWLEDGED);
}

TEST_F(UploadTest, GoesOnWhereABrokenUploadEnded) {
  const std::string content = Content(100'000);
  {
    const auto call = Open();
    SendHeader(*call, content);
    v1::UploadResponse response;
    ASSERT_TRUE(call->stream->Read(&response));
    SendChunk(*call, std::string_view(content).substr(0, 30'000));
    call->stream->WritesDone();
    EXPECT_FALSE(call->stream->Read(&response));
    const grpc::Status status = call->stream->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
    EXPECT_THAT(status.error_message(), HasSubstr("30000 of 100000"));
  }
  v1::UploadResult result;
  uint64_t resumed_at = 0;
  ASSERT_TRUE(Upload(content, &result, &resumed_at, 7'777).ok());
  EXPECT_EQ(resumed_at, 30'000u);
  EXPECT_EQ(result.outcome(), v1::UploadResult::ACKNOWLEDGED);
  EXPECT_EQ(coordinator_.upload(kAssignment).bytes, content);
}

TEST_F(UploadTest, DeviceThatVanishesLeavesItsUploadClosed) {
  const std::string content = Content(100'000);
  {
    const auto call = Open();
    SendHeader(*call, content);
    v1::UploadResponse response;
    ASSERT_TRUE(call->stream->Read(&response));
    SendChunk(*call, std::string_view(content).substr(0, 10));
    call->context.TryCancel();
    call->stream->Finish();
  }
  WaitUntilClosed();
  v1::UploadResult result;
  ASSERT_TRUE(Upload(content, &result).ok());
  EXPECT_EQ(result.outcome(), v1::UploadResult::ACKNOWLEDGED);
}

TEST_F(UploadTest, CompleteBytesNeedOnlyAHeader) {
  const std::string content = Content(5000);
  coordinator_.set_upload(kAssignment, content);
  v1::UploadResult result;
  uint64_t resumed_at = 0;
  ASSERT_TRUE(Upload(content, &result, &resumed_at).ok());
  EXPECT_EQ(resumed_at, content.size());
  EXPECT_EQ(result.outcome(), v1::UploadResult::ACKNOWLEDGED);
}

TEST_F(UploadTest, SecondUploadIsAbortedWhileOneIsOpen) {
  const auto first = Open();
  SendHeader(*first, Content(100));
  v1::UploadResponse response;
  ASSERT_TRUE(first->stream->Read(&response));
  v1::UploadResult result;
  EXPECT_EQ(Upload(Content(100), &result).error_code(),
            grpc::StatusCode::ABORTED);
}

TEST_F(UploadTest, AnotherDevicesAssignmentIsDenied) {
  const auto call = Open();
  SendHeader(*call, Content(10), "assignment-of-device-2");
  v1::UploadResponse response;
  EXPECT_FALSE(call->stream->Read(&response));
  EXPECT_EQ(call->stream->Finish().error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(UploadTest, TooLargeUpdateIsRefusedBeforeItIsSent) {
  v1::UploadResult result;
  const auto call = Open();
  v1::UploadRequest request;
  request.mutable_header()->set_assignment_id(kAssignment);
  request.mutable_header()->set_content_sha256(std::string(32, 'x'));
  request.mutable_header()->set_size_in_bytes(kMaximumUpload + 1);
  call->stream->Write(request);
  v1::UploadResponse response;
  ASSERT_TRUE(call->stream->Read(&response));
  EXPECT_EQ(response.result().outcome(), v1::UploadResult::REFUSED);
  EXPECT_THAT(response.result().reason(), HasSubstr("maximum_upload_bytes"));
  EXPECT_TRUE(call->stream->Finish().ok());
}

TEST_F(UploadTest, OversizedMessageIsRefused) {
  const std::string content = Content(3 << 20);
  const auto call = Open();
  SendHeader(*call, content);
  v1::UploadResponse response;
  ASSERT_TRUE(call->stream->Read(&response));
  SendChunk(*call, content);
  EXPECT_FALSE(call->stream->Read(&response));
  EXPECT_EQ(call->stream->Finish().error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(WaitUntilClosed().bytes, "");
}

TEST_F(UploadTest, MoreBytesThanAnnouncedAreRefused) {
  const auto call = Open();
  SendHeader(*call, Content(10));
  v1::UploadResponse response;
  ASSERT_TRUE(call->stream->Read(&response));
  SendChunk(*call, Content(11));
  EXPECT_FALSE(call->stream->Read(&response));
  EXPECT_EQ(call->stream->Finish().error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(UploadTest, MessagesOutOfOrderAreRefused) {
  {
    const auto call = Open();
    SendChunk(*call, "no header before");
    v1::UploadResponse response;
    EXPECT_FALSE(call->stream->Read(&response));
    EXPECT_EQ(call->stream->Finish().error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
  const auto call = Open();
  SendHeader(*call, Content(10));
  v1::UploadResponse response;
  ASSERT_TRUE(call->stream->Read(&response));
  SendHeader(*call, Content(10));
  EXPECT_FALSE(call->stream->Read(&response));
  EXPECT_EQ(call->stream->Finish().error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(UploadTest, HeaderWithoutHashOrSizeIsRefused) {
  const auto call = Open();
  v1::UploadRequest request;
  request.mutable_header()->set_assignment_id(kAssignment);
  call->stream->Write(request);
  v1::UploadResponse response;
  EXPECT_FALSE(call->stream->Read(&response));
  EXPECT_EQ(call->stream->Finish().error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(UploadTest, FullDiskReachesTheDevice) {
  coordinator_.set_append_status(
      absl::ResourceExhaustedError("write /spool/x: No space left on device"));
  v1::UploadResult result;
  const grpc::Status status = Upload(Content(100'000), &result);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("No space left"));
  EXPECT_FALSE(WaitUntilClosed().is_acknowledged);
}

// At this code a device would drop its update.
TEST_F(UploadTest, StorageThatDeniesWritesAsksTheDeviceToTryAgain) {
  coordinator_.set_append_status(
      absl::PermissionDeniedError("write spool/x: Operation not permitted"));
  v1::UploadResult result;
  const grpc::Status status = Upload(Content(1 << 20), &result);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("not permitted"));
}

TEST_F(UploadTest, ManyUploadsAtOnceArriveWhole) {
  constexpr int kDevices = 12;
  std::vector<std::thread> threads;
  for (int i = 0; i < kDevices; ++i) {
    threads.emplace_back([this, i] {
      const std::string id = "device-" + std::to_string(100 + i);
      const std::string content = Content(200'000 + static_cast<size_t>(i));
      const auto stub = DeviceStub(id);
      grpc::ClientContext context;
      SetDeadline(context);
      const auto stream = stub->Upload(&context);
      v1::UploadRequest request;
      request.mutable_header()->set_assignment_id("assignment-of-" + id);
      request.mutable_header()->set_content_sha256(
          Sha256Of(std::string_view(content)).ToBytes());
      request.mutable_header()->set_size_in_bytes(content.size());
      stream->Write(request);
      v1::UploadResponse response;
      ASSERT_TRUE(stream->Read(&response));
      for (size_t k = 0; k < content.size(); k += 4096) {
        request.set_chunk(content.substr(k, 4096));
        stream->Write(request);
      }
      ASSERT_TRUE(stream->Read(&response));
      EXPECT_EQ(response.result().outcome(), v1::UploadResult::ACKNOWLEDGED);
      EXPECT_TRUE(stream->Finish().ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace mledge
