#include "mledge/aggregation/update_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "mledge/core/file.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"
#include "mledge/v1/update.pb.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

UpdateContext Context() {
  return {AssignmentId("assignment-1"), Sha256Of("layout")};
}

UpdateSection Section(std::string name, std::vector<float> values) {
  UpdateSection section{std::move(name), AlignedFloats(values.size())};
  std::ranges::copy(values, section.values.span().begin());
  return section;
}

Update TwoSections() {
  Update update;
  update.sections.push_back(Section("delta", {1, -2, 0.5}));
  update.sections.push_back(Section("control", {7, 8}));
  update.scalars = {{"examples", 600}, {"loss_sum", -1.25}};
  update.weight = 600;
  return update;
}

std::string Serialized(const Update& update) {
  absl::StatusOr<std::string> bytes = SerializeUpdate(update, Context());
  EXPECT_THAT(bytes, IsOk());
  return *std::move(bytes);
}

std::span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// A file with this header and `body` after it.
std::string FileWith(const v1::UpdateHeader& header, std::string_view body) {
  const std::string serialized = header.SerializeAsString();
  std::string bytes = "MLEDGEUP";
  for (uint32_t value :
       {uint32_t{1}, static_cast<uint32_t>(serialized.size())}) {
    bytes.append(reinterpret_cast<const char*>(&value), 4);
  }
  bytes += serialized;
  bytes.resize((bytes.size() + 63) / 64 * 64);
  return bytes.append(body);
}

v1::UpdateHeader GoodHeader() {
  v1::UpdateHeader header;
  header.set_assignment_id("assignment-1");
  header.set_layout_fingerprint(Sha256Of("layout").ToBytes());
  header.set_weight(1);
  auto* section = header.add_sections();
  section->set_name("delta");
  section->set_elements(2);
  return header;
}

absl::Status ParseText(const std::string& bytes) {
  return UpdateFile::FromBytes(bytes).status();
}

TEST(UpdateFileTest, RoundTripsEverything) {
  const auto file = UpdateFile::FromBytes(Serialized(TwoSections()));
  ASSERT_THAT(file, IsOk());
  const UpdateView& view = (*file)->view();
  EXPECT_EQ(view.context, Context());
  EXPECT_EQ(view.weight, 600);
  EXPECT_EQ(view.scalars, TwoSections().scalars);
  ASSERT_EQ(view.sections.size(), 2u);
  EXPECT_THAT(view.sections[0].values, ::testing::ElementsAre(1, -2, 0.5));
  EXPECT_THAT(view.FindSection("control")->values,
              ::testing::ElementsAre(7, 8));
  EXPECT_EQ(view.FindSection("other"), nullptr);
}

TEST(UpdateFileTest, FormatIsAsSpecified) {
  const std::string bytes = Serialized(TwoSections());
  EXPECT_EQ(bytes.substr(0, 8), "MLEDGEUP");
  uint32_t version = 0;
  uint32_t length = 0;
  std::memcpy(&version, bytes.data() + 8, 4);
  std::memcpy(&length, bytes.data() + 12, 4);
  EXPECT_EQ(version, 1u);
  v1::UpdateHeader header;
  ASSERT_TRUE(header.ParseFromString(bytes.substr(16, length)));
  EXPECT_EQ(header.sections(1).elements(), 2);
  const size_t first = (16 + length + 63) / 64 * 64;
  float value = 0;
  std::memcpy(&value, bytes.data() + first + 4, 4);
  EXPECT_EQ(value, -2);
  std::memcpy(&value, bytes.data() + first + 64, 4);
  EXPECT_EQ(value, 7);
  EXPECT_EQ(bytes.size(), first + 64 + 2 * 4);
}

TEST(UpdateFileTest, EvaluationHasNoSections) {
  Update update;
  update.weight = 3;
  update.scalars = {{"examples", 3}};
  const auto file = UpdateFile::FromBytes(Serialized(update));
  ASSERT_THAT(file, IsOk());
  EXPECT_TRUE((*file)->view().sections.empty());
}

TEST(UpdateFileTest, EmptySectionRoundTrips) {
  Update update;
  update.sections.push_back(Section("delta", {}));
  update.sections.push_back(Section("x", {1}));
  const auto file = UpdateFile::FromBytes(Serialized(update));
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ((*file)->view().sections[0].values.size(), 0u);
  EXPECT_EQ((*file)->view().sections[1].values[0], 1);
}

TEST(UpdateFileTest, ValuesThatAreNotNumbersTravelUnchanged) {
  Update update;
  update.sections.push_back(
      Section("delta", {std::numeric_limits<float>::quiet_NaN(),
                        std::numeric_limits<float>::infinity()}));
  const auto file = UpdateFile::FromBytes(Serialized(update));
  ASSERT_THAT(file, IsOk());
  EXPECT_TRUE(std::isnan((*file)->view().sections[0].values[0]));
}

TEST(UpdateFileTest, MapsFiles) {
  TempDirectory directory;
  ASSERT_THAT(
      WriteFileAtomically(directory.File("u"), Serialized(TwoSections())),
      IsOk());
  const auto file = UpdateFile::Map(directory.File("u"));
  ASSERT_THAT(file, IsOk());
  const Update copy = (*file)->view().ToUpdate();
  EXPECT_EQ(copy.weight, 600);
  EXPECT_EQ(copy.FindSection("delta")->values.span()[1], -2);
  EXPECT_EQ(Serialized(copy), Serialized(TwoSections()));
}

TEST(UpdateFileTest, MapNamesMissingAndEmptyFiles) {
  TempDirectory directory;
  EXPECT_THAT(UpdateFile::Map(directory.File("none")),
              StatusIs(StatusCode::kNotFound, HasSubstr("none")));
  ASSERT_THAT(WriteFileAtomically(directory.File("empty"), ""), IsOk());
  EXPECT_THAT(UpdateFile::Map(directory.File("empty")),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("empty")));
}

TEST(UpdateFileTest, WritesInPiecesThatEqualTheWhole) {
  const Update update = TwoSections();
  const UpdateView view = UpdateView::Of(update, Context());
  std::string bytes;
  ASSERT_THAT(WriteUpdate(view,
                          [&](std::string_view piece) {
                            bytes += piece;
                            return absl::OkStatus();
                          }),
              IsOk());
  EXPECT_EQ(bytes, Serialized(update));
  EXPECT_THAT(SerializedUpdateSize(view), IsOkAndHolds(bytes.size()));
}

TEST(UpdateFileTest, ErrorOfTheSinkEndsTheWriting) {
  const Update update = TwoSections();
  int pieces = 0;
  EXPECT_THAT(WriteUpdate(UpdateView::Of(update, Context()),
                          [&](std::string_view) {
                            ++pieces;
                            return absl::ResourceExhaustedError("full");
                          }),
              StatusIs(StatusCode::kResourceExhausted));
  EXPECT_EQ(pieces, 1);
}

TEST(UpdateFileTest, RefusesToWriteBadNames) {
  Update twice = TwoSections();
  twice.sections[1].name = "delta";
  EXPECT_THAT(SerializeUpdate(twice, Context()),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("twice")));
  Update unsafe = TwoSections();
  unsafe.scalars[0].name = "a/b";
  EXPECT_THAT(SerializeUpdate(unsafe, Context()),
              StatusIs(StatusCode::kInvalidArgument));
}

TEST(UpdateFileTest, HeaderTellsWhereSectionsLie) {
  const std::string bytes = Serialized(TwoSections());
  const auto header = ParseUpdateHeader(Bytes(bytes), bytes.size());
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->context, Context());
  EXPECT_EQ(header->sections[0].offset, header->header_size);
  EXPECT_EQ(header->sections[1].offset, header->header_size + 64);
  // The same from the header's bytes alone.
  const auto prefix =
      ParseUpdateHeader(Bytes(bytes).first(header->header_size), bytes.size());
  ASSERT_THAT(prefix, IsOk());
  EXPECT_EQ(prefix->file_size, bytes.size());
}

TEST(UpdateFileTest, ShortPrefixAsksForMore) {
  const std::string bytes = Serialized(TwoSections());
  const auto header = ParseUpdateHeader(Bytes(bytes), bytes.size());
  ASSERT_THAT(header, IsOk());
  for (size_t size = 0; size < header->header_size; ++size) {
    EXPECT_THAT(ParseUpdateHeader(Bytes(bytes).first(size), bytes.size()),
                StatusIs(StatusCode::kOutOfRange))
        << size;
  }
}

TEST(UpdateFileTest, RefusesEveryTruncation) {
  const std::string bytes = Serialized(TwoSections());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(ParseText(bytes.substr(0, size)),
                StatusIs(StatusCode::kInvalidArgument))
        << size;
  }
}

TEST(UpdateFileTest, RefusesTrailingBytes) {
  EXPECT_THAT(ParseText(Serialized(TwoSections()) + '\0'),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("its header describes")));
}

TEST(UpdateFileTest, RefusesOtherMagicAndVersion) {
  std::string bytes = Serialized(TwoSections());
  bytes[7] = 'X';
  EXPECT_THAT(ParseText(bytes),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("MLEDGEUP")));
  bytes = Serialized(TwoSections());
  bytes[8] = 2;
  EXPECT_THAT(ParseText(bytes), StatusIs(StatusCode::kInvalidArgument,
                                         HasSubstr("format version 2")));
}

TEST(UpdateFileTest, RefusesAHeaderThatIsTooLong) {
  std::string bytes = Serialized(TwoSections());
  bytes[14] = 2;  // 128 KiB
  EXPECT_THAT(ParseUpdateHeader(Bytes(bytes), uint64_t{1} << 40),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("at most")));
}

TEST(UpdateFileTest, RefusesPaddingThatIsNotZero) {
  std::string bytes = FileWith(GoodHeader(), std::string(8, '\0'));
  ASSERT_THAT(ParseText(bytes), IsOk());
  bytes[bytes.size() - 9] = 1;
  EXPECT_THAT(ParseText(bytes),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("padding")));
  // Between two sections.
  bytes = Serialized(TwoSections());
  bytes[bytes.size() - 9] = 1;
  EXPECT_THAT(ParseText(bytes),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("padding")));
}

TEST(UpdateFileTest, RefusesSizesThatDoNotAddUp) {
  for (int64_t elements : {int64_t{-1}, int64_t{0}, int64_t{1}, int64_t{3},
                           std::numeric_limits<int64_t>::max(),
                           std::numeric_limits<int64_t>::min(),
                           int64_t{1} << 61, int64_t{1} << 62}) {
    v1::UpdateHeader header = GoodHeader();
    header.mutable_sections(0)->set_elements(elements);
    EXPECT_THAT(ParseText(FileWith(header, std::string(8, '\0'))),
                StatusIs(StatusCode::kInvalidArgument))
        << elements;
  }
}

TEST(UpdateFileTest, RefusesDuplicateAndUnsafeNames) {
  v1::UpdateHeader header = GoodHeader();
  *header.add_sections() = header.sections(0);
  header.mutable_sections(1)->set_elements(0);
  EXPECT_THAT(ParseText(FileWith(header, std::string(64, '\0'))),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("twice")));
  header = GoodHeader();
  header.add_scalars()->set_name("x");
  header.add_scalars()->set_name("x");
  EXPECT_THAT(ParseText(FileWith(header, std::string(8, '\0'))),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("twice")));
  for (const char* name : {"", "../x", "a b"}) {
    header = GoodHeader();
    header.mutable_sections(0)->set_name(name);
    EXPECT_THAT(ParseText(FileWith(header, std::string(8, '\0'))),
                StatusIs(StatusCode::kInvalidArgument))
        << name;
  }
}

TEST(UpdateFileTest, RefusesTooManySectionsAndScalars) {
  v1::UpdateHeader header = GoodHeader();
  for (int i = 0; i < kMaximumUpdateScalars + 1; ++i) {
    header.add_scalars()->set_name("s" + std::to_string(i));
  }
  EXPECT_THAT(ParseText(FileWith(header, std::string(8, '\0'))),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("at most 256")));
  header = GoodHeader();
  for (int i = 0; i < kMaximumUpdateSections; ++i) {
    header.add_sections()->set_name("s" + std::to_string(i));
  }
  EXPECT_THAT(ParseText(FileWith(header, std::string(64, '\0'))),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("at most 64")));
}

TEST(UpdateFileTest, RefusesAFingerprintThatIsNoDigest) {
  v1::UpdateHeader header = GoodHeader();
  header.set_layout_fingerprint("short");
  EXPECT_THAT(ParseText(FileWith(header, std::string(8, '\0'))),
              StatusIs(StatusCode::kInvalidArgument));
}

TEST(UpdateFileTest, RefusesFieldsFromTheFuture) {
  v1::UpdateHeader header = GoodHeader();
  header.GetReflection()->MutableUnknownFields(&header)->AddVarint(99, 1);
  EXPECT_THAT(ParseText(FileWith(header, std::string(8, '\0'))),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("version 1")));
}

TEST(UpdateFileTest, RefusesAHeaderThatIsNoMessage) {
  std::string bytes = FileWith(GoodHeader(), std::string(8, '\0'));
  for (size_t i = 16; i < 40; ++i) bytes[i] = '\xff';
  EXPECT_THAT(ParseText(bytes), StatusIs(StatusCode::kInvalidArgument,
                                         HasSubstr("cannot be read")));
}

TEST(UpdateFileTest, RefusesMisalignedBytes) {
  const std::string bytes = Serialized(TwoSections());
  std::string shifted = " " + bytes;
  EXPECT_THAT(ParseUpdate(Bytes(shifted).subspan(1)),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("address")));
}

}  // namespace
}  // namespace mledge
