#include "mledge/client/idx_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <chrono>
#include <cstring>
#include <string>

#include "mledge/client/compressed_file.h"
#include "mledge/core/file.h"
#include "mledge/tests/support/shared_data.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string BigEndian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

// `sizes` and `values` as an IDX file of unsigned bytes.
std::string Idx(const std::vector<uint32_t>& sizes,
                const std::vector<uint8_t>& values) {
  std::string bytes = BigEndian(0x0800 + static_cast<uint32_t>(sizes.size()));
  for (const uint32_t size : sizes) bytes += BigEndian(size);
  bytes.append(values.begin(), values.end());
  return bytes;
}

// Two images of 2 × 2 pixels.
std::string TwoImages() {
  return Idx({2, 2, 2}, {0, 51, 102, 255, 1, 2, 3, 4});
}

IdxArray MustParse(std::string bytes) {
  absl::StatusOr<IdxArray> array = ParseIdx("file", std::move(bytes));
  EXPECT_THAT(array, IsOk());
  return *std::move(array);
}

absl::StatusOr<std::unique_ptr<IdxStore>> MakeStore(
    std::string images, std::string labels, IdxStore::Options options = {}) {
  return IdxStore::Create(MustParse(std::move(images)),
                          MustParse(std::move(labels)), std::move(options));
}

std::string Gzip(const std::string& bytes) {
  z_stream stream{};
  deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 16 + MAX_WBITS, 8,
               Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

TEST(IdxStoreTest, ScalesPixelsAndReadsInTheOrderAskedFor) {
  const auto store = MakeStore(TwoImages(), Idx({2}, {7, 3}));
  ASSERT_THAT(store, IsOk());
  EXPECT_EQ((*store)->size(), 2);
  EXPECT_EQ((*store)->classes(), 8);
  EXPECT_THAT((*store)->input().shape, ElementsAre(2, 2));
  ExampleBatch batch;
  const std::vector<int64_t> positions = {1, 0};
  ASSERT_THAT((*store)->Read(positions, &batch), IsOk());
  EXPECT_EQ(batch.size, 2);
  EXPECT_THAT(batch.inputs, ElementsAre(1 / 255.0f, 2 / 255.0f, 3 / 255.0f,
                                        4 / 255.0f, 0, 0.2f, 0.4f, 1));
  EXPECT_THAT(batch.class_labels, ElementsAre(3, 7));
}

TEST(IdxStoreTest, SubtractsMeanAndDividesByStandardDeviation) {
  const auto store = MakeStore(TwoImages(), Idx({2}, {0, 1}),
                               {.mean = 0.5f, .standard_deviation = 0.25f});
  ASSERT_THAT(store, IsOk());
  ExampleBatch batch;
  ASSERT_THAT((*store)->Read(std::vector<int64_t>{0}, &batch), IsOk());
  EXPECT_THAT(batch.inputs,
              ElementsAre(-2, (0.2f - 0.5f) / 0.25f, (0.4f - 0.5f) / 0.25f, 2));
}

TEST(IdxStoreTest, RefusesPositionOutside) {
  const auto store = MakeStore(TwoImages(), Idx({2}, {0, 1}));
  ExampleBatch batch;
  EXPECT_THAT((*store)->Read(std::vector<int64_t>{2}, &batch),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("example 2")));
  EXPECT_THAT((*store)->Read(std::vector<int64_t>{-1}, &batch),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST(IdxStoreTest, NamesOffsetOfLabelOutOfRange) {
  EXPECT_THAT(MakeStore(TwoImages(), Idx({2}, {9, 10}),
                        {.classes = 10, .labels_name = "labels.gz"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("labels.gz"), HasSubstr("label 10"),
                             HasSubstr("byte 9"), HasSubstr("0 ... 9"))));
}

TEST(IdxStoreTest, RefusesDifferentCounts) {
  EXPECT_THAT(MakeStore(TwoImages(), Idx({3}, {0, 1, 2})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("2 images"), HasSubstr("3"))));
}

TEST(IdxStoreTest, RefusesExchangedFiles) {
  EXPECT_THAT(
      MakeStore(Idx({2}, {0, 1}), TwoImages()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("exchanged")));
}

TEST(IdxStoreTest, RefusesBadScaling) {
  for (const float bad : {0.0f, -1.0f, std::nanf("")}) {
    EXPECT_THAT(
        MakeStore(TwoImages(), Idx({2}, {0, 1}), {.standard_deviation = bad}),
        StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(ParseIdxTest, NamesWhereTruncatedFileEnds) {
  std::string bytes = TwoImages();
  bytes.resize(20);
  EXPECT_THAT(ParseIdx("images", bytes),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("ends at byte 20"), HasSubstr("byte 24"),
                             HasSubstr("again"))));
  EXPECT_THAT(ParseIdx("images", bytes.substr(0, 6)),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(ParseIdx("images", ""), StatusIs(absl::StatusCode::kDataLoss));
}

TEST(ParseIdxTest, RefusesBytesAfterTheEnd) {
  EXPECT_THAT(ParseIdx("images", TwoImages() + "x"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("1 bytes follow")));
}

TEST(ParseIdxTest, RefusesWrongMagic) {
  EXPECT_THAT(ParseIdx("images", "PNG what is this"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("images"), HasSubstr("byte 0"),
                             HasSubstr("0x504e4720"))));
}

TEST(ParseIdxTest, RefusesOtherElementType) {
  std::string bytes = TwoImages();
  bytes[2] = 0x0D;
  EXPECT_THAT(
      ParseIdx("images", bytes),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("32-bit floats")));
}

TEST(ParseIdxTest, RefusesZeroAndTooManyDimensions) {
  EXPECT_THAT(
      ParseIdx("f", Idx({0, 2}, {})),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("dimension 0")));
  EXPECT_THAT(ParseIdx("f", Idx({}, {1})),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseIdx("f", Idx(std::vector<uint32_t>(9, 1), {1})),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ParseIdxTest, RefusesSizesThatOverflow) {
  EXPECT_THAT(
      ParseIdx("f", Idx(std::vector<uint32_t>(8, 0xFFFFFFFF), {1, 2})),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("dimension")));
}

TEST(CompressedFileTest, UnpacksGzipAndLeavesOthers) {
  EXPECT_THAT(UnpackIfGzip("f", Gzip(TwoImages())), IsOkAndHolds(TwoImages()));
  EXPECT_THAT(UnpackIfGzip("f", TwoImages()), IsOkAndHolds(TwoImages()));
  const std::string large(9'000'000, 'a');
  EXPECT_THAT(UnpackIfGzip("f", Gzip(large) + Gzip("b")),
              IsOkAndHolds(large + "b"));
}

TEST(CompressedFileTest, FindsPackedFileUnderItsPlainName) {
  TempDirectory folder;
  ASSERT_THAT(WriteFileAtomically(folder.File("images.gz"), Gzip("content")),
              IsOk());
  EXPECT_THAT(ReadMaybeGzippedFile(folder.File("images")),
              IsOkAndHolds(std::string("content")));
  ASSERT_THAT(WriteFileAtomically(folder.File("images"), "plain"), IsOk());
  EXPECT_THAT(ReadMaybeGzippedFile(folder.File("images")),
              IsOkAndHolds(std::string("plain")));
}

TEST(CompressedFileTest, RefusesTruncatedGzip) {
  std::string packed = Gzip(std::string(100'000, 'a'));
  packed.resize(packed.size() - 9);
  EXPECT_THAT(UnpackIfGzip("f.gz", packed),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("f.gz"), HasSubstr("too early"))));
}

TEST(CompressedFileTest, RefusesDamagedGzip) {
  std::string packed = Gzip(TwoImages());
  packed[packed.size() - 6] ^= 0x55;  // its checksum
  EXPECT_THAT(UnpackIfGzip("f.gz", packed),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("f.gz")));
}

TEST(CompressedFileTest, RefusesWhatUnpacksToTooMuch) {
  EXPECT_THAT(
      UnpackIfGzip("bomb", Gzip(std::string(5'000'000, '\0')), 1'000'000),
      StatusIs(absl::StatusCode::kResourceExhausted,
               HasSubstr("1000000 bytes")));
}

TEST(IdxStoreTest, NamesMissingFile) {
  EXPECT_THAT(
      IdxStore::Open("/nowhere/images", "/nowhere/labels", {}),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/images")));
}

TEST(IdxStoreTest, ReadsMnist) {
  const absl::StatusOr<std::string> mnist = FindSharedData("mnist");
  if (!mnist.ok()) GTEST_SKIP() << mnist.status().message();
  const auto store =
      IdxStore::Open(*mnist + "/t10k-images-idx3-ubyte.gz",
                     *mnist + "/t10k-labels-idx1-ubyte.gz", {.classes = 10});
  ASSERT_THAT(store, IsOk());
  EXPECT_EQ((*store)->size(), 10000);
  EXPECT_EQ((*store)->classes(), 10);
  ExampleBatch batch;
  ASSERT_THAT((*store)->Read(std::vector<int64_t>{0, 1, 2, 3}, &batch), IsOk());
  EXPECT_THAT(batch.class_labels, ElementsAre(7, 2, 1, 0));
}

}  // namespace
}  // namespace mledge
