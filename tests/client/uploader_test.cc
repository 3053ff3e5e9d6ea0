#include "mledge/client/uploader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mledge/client/memory_device_storage.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;

class UploaderTest : public ::testing::Test {
 protected:
  UploaderTest()
      : source_(std::make_shared<const std::string>("0123456789")),
        header_(
            MakeUploadHeader(AssignmentId("a1"),
                             {Sha256Of(std::string_view("0123456789")), 10})),
        uploader_(header_, &source_, 4) {}

  static v1::UploadResponse Resume(uint64_t offset) {
    v1::UploadResponse response;
    response.mutable_resume()->set_offset(offset);
    return response;
  }
  static v1::UploadResponse Result(v1::UploadResult::Outcome outcome) {
    v1::UploadResponse response;
    response.mutable_result()->set_outcome(outcome);
    return response;
  }
  // The chunks that the uploader sends now.
  std::vector<std::string> Chunks() {
    std::vector<std::string> chunks;
    while (true) {
      auto request = uploader_.NextRequest();
      EXPECT_THAT(request, IsOk());
      if (!request.ok() || !request->has_value()) return chunks;
      chunks.push_back((*request)->chunk());
    }
  }
  void SendHeader() {
    auto request = uploader_.NextRequest();
    ASSERT_THAT(request, IsOk());
    EXPECT_EQ((*request)->header().assignment_id(), "a1");
    EXPECT_EQ((*request)->header().size_in_bytes(), 10);
  }

  MemoryUploadSource source_;
  const v1::UploadHeader header_;
  Uploader uploader_;
};

TEST_F(UploaderTest, SendsHeaderThenWaitsThenAllChunks) {
  SendHeader();
  EXPECT_TRUE(Chunks().empty());
  ASSERT_THAT(uploader_.OnResponse(Resume(0)), IsOk());
  EXPECT_THAT(Chunks(), ::testing::ElementsAre("0123", "4567", "89"));
  EXPECT_TRUE(uploader_.all_sent());
  ASSERT_THAT(uploader_.OnResponse(Result(v1::UploadResult::ACKNOWLEDGED)),
              IsOk());
  EXPECT_EQ(uploader_.result()->outcome(), v1::UploadResult::ACKNOWLEDGED);
}

TEST_F(UploaderTest, GoesOnWhereTheCoordinatorStands) {
  SendHeader();
  ASSERT_THAT(uploader_.OnResponse(Resume(7)), IsOk());
  EXPECT_THAT(Chunks(), ::testing::ElementsAre("789"));
  EXPECT_EQ(uploader_.bytes_sent(), 3);
}

TEST_F(UploaderTest, SendsNothingWhenEverythingIsThere) {
  SendHeader();
  ASSERT_THAT(uploader_.OnResponse(Resume(10)), IsOk());
  EXPECT_TRUE(Chunks().empty());
  EXPECT_TRUE(uploader_.all_sent());
}

TEST_F(UploaderTest, OutcomeMayComeAtOnce) {
  SendHeader();
  ASSERT_THAT(uploader_.OnResponse(Result(v1::UploadResult::TOO_LATE)), IsOk());
  EXPECT_TRUE(Chunks().empty());
  EXPECT_EQ(uploader_.result()->outcome(), v1::UploadResult::TOO_LATE);
}

TEST_F(UploaderTest, RefusalMayComeInTheMiddle) {
  SendHeader();
  ASSERT_THAT(uploader_.OnResponse(Resume(0)), IsOk());
  ASSERT_THAT(uploader_.NextRequest(), IsOk());
  ASSERT_THAT(uploader_.OnResponse(Result(v1::UploadResult::REFUSED)), IsOk());
  EXPECT_TRUE(Chunks().empty());
}

TEST_F(UploaderTest, AcknowledgementBeforeAllBytesIsNotBelieved) {
  SendHeader();
  ASSERT_THAT(uploader_.OnResponse(Resume(0)), IsOk());
  EXPECT_THAT(uploader_.OnResponse(Result(v1::UploadResult::ACKNOWLEDGED)),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(UploaderTest, OffsetPastTheEndIsRefused) {
  SendHeader();
  EXPECT_THAT(
      uploader_.OnResponse(Resume(11)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("byte 11")));
}

TEST_F(UploaderTest, SecondOffsetIsRefused) {
  SendHeader();
  ASSERT_THAT(uploader_.OnResponse(Resume(0)), IsOk());
  EXPECT_THAT(uploader_.OnResponse(Resume(0)),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(UploaderTest, EmptyMessageIsRefused) {
  SendHeader();
  EXPECT_THAT(uploader_.OnResponse(v1::UploadResponse()),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(UploaderTest, ResultWithoutOutcomeIsRefused) {
  SendHeader();
  EXPECT_THAT(
      uploader_.OnResponse(Result(v1::UploadResult::OUTCOME_UNSPECIFIED)),
      StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(UploaderTest, StoredUpdateOfAnotherSizeDoesNotStart) {
  v1::UploadHeader header = header_;
  header.set_size_in_bytes(11);
  Uploader uploader(header, &source_);
  EXPECT_THAT(uploader.NextRequest(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace mledge
