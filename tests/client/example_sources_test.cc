#include "mledge/client/example_sources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "mledge/client/memory_store.h"
#include "mledge/client/subset_store.h"
#include "mledge/core/file.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::shared_ptr<const ExampleStore> FourExamples() {
  MemoryStore::Contents contents;
  contents.input.shape = {1};
  contents.classes = 2;
  contents.inputs = {10, 11, 12, 13};
  contents.class_labels = {0, 1, 0, 1};
  absl::StatusOr<std::unique_ptr<MemoryStore>> store =
      MemoryStore::Create(std::move(contents));
  EXPECT_THAT(store, IsOk());
  return *std::move(store);
}

TEST(MemoryStoreTest, RefusesNanAndInfinity) {
  for (const float bad :
       {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    MemoryStore::Contents contents;
    contents.input.shape = {2};
    contents.classes = 2;
    contents.inputs = {1, 2, 3, bad};
    contents.class_labels = {0, 1};
    EXPECT_THAT(MemoryStore::Create(std::move(contents)),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("example 1, value 1")));
  }
}

TEST(MemoryStoreTest, RefusesLabelOutOfRange) {
  for (const int64_t bad : {-1, 2}) {
    MemoryStore::Contents contents;
    contents.input.shape = {1};
    contents.classes = 2;
    contents.inputs = {1, 2};
    contents.class_labels = {0, bad};
    EXPECT_THAT(
        MemoryStore::Create(std::move(contents)),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("example 1")));
  }
}

TEST(MemoryStoreTest, RefusesCountsThatDoNotFit) {
  MemoryStore::Contents contents;
  contents.input.shape = {2};
  contents.classes = 2;
  contents.inputs = {1, 2, 3};
  contents.class_labels = {0};
  EXPECT_THAT(MemoryStore::Create(contents),
              StatusIs(absl::StatusCode::kInvalidArgument));
  contents.inputs = {1, 2, 3, 4};
  EXPECT_THAT(MemoryStore::Create(contents),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("2 examples, but 1 class labels")));
}

TEST(MemoryStoreTest, HoldsIndexInputs) {
  MemoryStore::Contents contents;
  contents.input = {.shape = {2}, .kind = TensorSpec::Kind::kIndex};
  contents.index_inputs = {5, 6, 7, 8};
  contents.label_width = 1;
  contents.label_values = {0.5f, 1.5f};
  const auto store = MemoryStore::Create(std::move(contents));
  ASSERT_THAT(store, IsOk());
  ExampleBatch batch;
  ASSERT_THAT((*store)->Read(std::vector<int64_t>{1}, &batch), IsOk());
  EXPECT_THAT(batch.index_inputs, ElementsAre(7, 8));
  EXPECT_THAT(batch.label_values, ElementsAre(1.5f));
}

TEST(SubsetStoreTest, ReadsItsShare) {
  const auto subset = SubsetStore::Create(FourExamples(), {3, 1});
  ASSERT_THAT(subset, IsOk());
  EXPECT_EQ((*subset)->size(), 2);
  ExampleBatch batch;
  ASSERT_THAT((*subset)->Read(std::vector<int64_t>{0, 1}, &batch), IsOk());
  EXPECT_THAT(batch.inputs, ElementsAre(13, 11));
  EXPECT_THAT((*subset)->Read(std::vector<int64_t>{2}, &batch),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST(SubsetStoreTest, RefusesDuplicatesAndPositionsOutside) {
  EXPECT_THAT(SubsetStore::Create(FourExamples(), {1, 1}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("twice")));
  EXPECT_THAT(SubsetStore::Create(FourExamples(), {4}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(IndexFileTest, ReadsNumbersCommentsAndBlankLines) {
  EXPECT_THAT(ParseIndexFile("i", "# of device 3\n 2\n\n0 # first\r\n1", 3),
              IsOkAndHolds(ElementsAre(2, 0, 1)));
}

TEST(IndexFileTest, IsReadBackAsWritten) {
  const std::vector<int64_t> positions = {4, 2, 9};
  EXPECT_THAT(ParseIndexFile("i", FormatIndexFile(positions, "a comment"), 10),
              IsOkAndHolds(ElementsAre(4, 2, 9)));
}

TEST(IndexFileTest, NamesLineOfDuplicate) {
  EXPECT_THAT(ParseIndexFile("i", "1\n2\n1\n", 3),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("i:3"), HasSubstr("line 1"))));
}

TEST(IndexFileTest, NamesLineOfPositionOutside) {
  for (const char* bad : {"3", "-1", "99999999999999999999"}) {
    EXPECT_THAT(ParseIndexFile("i", std::string("1\n") + bad, 3),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("i:2"), HasSubstr("3 examples"))))
        << bad;
  }
}

TEST(IndexFileTest, RefusesWhatIsNoNumber) {
  for (const char* bad : {"one", "1.5", "1 2", "1,2", "0x1"}) {
    EXPECT_THAT(ParseIndexFile("i", bad, 3),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("i:1")))
        << bad;
  }
}

class OpenExamplesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_THAT(
        WriteFileAtomically(folder_.File("t.csv"), "a,b\n1,0\n2,1\n3,1\n"),
        IsOk());
    source_.mutable_csv()->set_file("t.csv");
    source_.mutable_csv()->add_features("a");
    source_.mutable_csv()->add_labels("b");
  }
  TempDirectory folder_;
  v1::DataSource source_;
};

TEST_F(OpenExamplesTest, ResolvesPathsAndAppliesIndexFile) {
  ASSERT_THAT(WriteFileAtomically(folder_.File("share"), "2\n0\n"), IsOk());
  source_.set_index_file("share");
  const auto store = OpenExamples(source_, folder_.path());
  ASSERT_THAT(store, IsOk());
  ExampleBatch batch;
  ASSERT_THAT((*store)->Read(std::vector<int64_t>{0, 1}, &batch), IsOk());
  EXPECT_THAT(batch.inputs, ElementsAre(3, 1));
}

TEST_F(OpenExamplesTest, RefusesEmptyShare) {
  ASSERT_THAT(WriteFileAtomically(folder_.File("share"), "# nothing\n"),
              IsOk());
  source_.set_index_file("share");
  EXPECT_THAT(
      OpenExamples(source_, folder_.path()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no example")));
}

TEST_F(OpenExamplesTest, NamesMissingFiles) {
  source_.set_index_file("missing");
  EXPECT_THAT(OpenExamples(source_, folder_.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("missing")));
  source_.mutable_csv()->set_file("gone.csv");
  EXPECT_THAT(OpenExamples(source_, folder_.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("gone.csv")));
}

TEST_F(OpenExamplesTest, RefusesSourceWithoutKindOrFile) {
  EXPECT_THAT(OpenExamples(v1::DataSource(), ""),
              StatusIs(absl::StatusCode::kInvalidArgument));
  v1::DataSource idx;
  idx.mutable_idx()->set_images("images");
  EXPECT_THAT(
      OpenExamples(idx, ""),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("`labels`")));
}

}  // namespace
}  // namespace mledge
