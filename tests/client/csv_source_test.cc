#include "mledge/client/csv_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "google/protobuf/text_format.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

v1::CsvData Source(const std::string& text) {
  v1::CsvData source;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &source));
  return source;
}

constexpr char kTwoFeatures[] =
    "features: 'age' features: 'height' labels: 'ill'";

// What `text` is refused with.
testing::Matcher<absl::StatusOr<std::unique_ptr<MemoryStore>>> Refused(
    testing::Matcher<const std::string&> message) {
  return StatusIs(absl::StatusCode::kInvalidArgument, message);
}

ExampleBatch All(const MemoryStore& store) {
  std::vector<int64_t> positions(store.size());
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = i;
  ExampleBatch batch;
  EXPECT_THAT(store.Read(positions, &batch), IsOk());
  return batch;
}

TEST(CsvSourceTest, ReadsNumbersInTheOrderOfTheFeatures) {
  const auto store =
      ParseCsv("t.csv", "height,ill,age\n1.5,0,20\n 1.75 ,1,3e1\r\n",
               Source(kTwoFeatures));
  ASSERT_THAT(store, IsOk());
  const ExampleBatch batch = All(**store);
  EXPECT_THAT(batch.inputs, ElementsAre(20, 1.5f, 30, 1.75f));
  EXPECT_THAT(batch.class_labels, ElementsAre(0, 1));
  EXPECT_EQ((*store)->classes(), 2);
}

TEST(CsvSourceTest, ReadsQuotedFieldsWithDelimitersQuotesAndLineBreaks) {
  const auto store =
      ParseCsv("t.csv", "\"a,\"\"b\"\"\",ill\n\"1\",\"two\nlines\"\n2,plain\n",
               Source("features: 'a,\"b\"' labels: 'ill' classes: 'plain' "
                      "classes: 'two\\nlines'"));
  ASSERT_THAT(store, IsOk());
  EXPECT_THAT(All(**store).class_labels, ElementsAre(1, 0));
}

TEST(CsvSourceTest, TurnsWordsIntoOneHotInputs) {
  const auto store = ParseCsv(
      "t.csv", "colour,age,ill\nred,4,0\nblue,8,1\n",
      Source("features: 'colour' features: 'age' labels: 'ill' "
             "feature_mean: 4 feature_standard_deviation: 2 "
             "categorical { column: 'colour' values: ['blue', 'red'] }"));
  ASSERT_THAT(store, IsOk());
  EXPECT_EQ((*store)->input().element_count(), 3);
  EXPECT_THAT(All(**store).inputs, ElementsAre(0, 1, 0, 1, 0, 2));
}

TEST(CsvSourceTest, OffersRegressionLabelsAsRows) {
  const auto store =
      ParseCsv("t.csv", "a;x;y\n1;0.5;-2\n2;1.5;3\n",
               Source("features: 'a' labels: 'x' labels: 'y' delimiter: ';'"));
  ASSERT_THAT(store, IsOk());
  EXPECT_EQ((*store)->classes(), 0);
  EXPECT_EQ((*store)->label_width(), 2);
  const ExampleBatch batch = All(**store);
  EXPECT_THAT(batch.label_values, ElementsAre(0.5f, -2, 1.5f, 3));
  EXPECT_THAT(batch.class_labels, IsEmpty());
}

TEST(CsvSourceTest, SkipsByteOrderMark) {
  EXPECT_THAT(ParseCsv("t.csv",
                       "\xEF\xBB\xBF"
                       "age,height,ill\n1,2,0\n",
                       Source(kTwoFeatures)),
              IsOk());
}

TEST(CsvSourceTest, NamesNearestColumnForUnknownOne) {
  EXPECT_THAT(
      ParseCsv("t.csv", "aeg,height,ill\n1,2,0\n", Source(kTwoFeatures)),
      Refused(AllOf(HasSubstr("t.csv:1"), HasSubstr("\"age\""),
                    HasSubstr("did you mean \"aeg\"?"))));
}

TEST(CsvSourceTest, RefusesWrongFieldCount) {
  EXPECT_THAT(
      ParseCsv("t.csv", "age,height,ill\n1,2,0\n1,2\n", Source(kTwoFeatures)),
      Refused(AllOf(HasSubstr("t.csv:3: 2 fields"), HasSubstr("3 columns"))));
}

TEST(CsvSourceTest, RefusesWordWhereNumberIsExpected) {
  EXPECT_THAT(ParseCsv("t.csv", "age,height,ill\n1,2,0\n1,tall,0\n",
                       Source(kTwoFeatures)),
              Refused(AllOf(HasSubstr("t.csv:3:3:"), HasSubstr("\"height\""),
                            HasSubstr("\"tall\" is not a number"))));
}

TEST(CsvSourceTest, RefusesNanInfinityOverflowAndEmptyValues) {
  for (const char* bad : {"nan", "NaN", "inf", "-inf", "1e39", "1e999", ""}) {
    EXPECT_THAT(
        ParseCsv("t.csv", std::string("age,height,ill\n1,") + bad + ",0\n",
                 Source(kTwoFeatures)),
        Refused(HasSubstr("t.csv:2:3:")))
        << bad;
  }
}

TEST(CsvSourceTest, RefusesNumberWithTrailingText) {
  for (const char* bad : {"1,5", "1.5kg", "0x10", "1 2", "+1", "--1"}) {
    EXPECT_THAT(
        ParseCsv("t.csv", std::string("age;height;ill\n1;") + bad + ";0\n",
                 Source(std::string(kTwoFeatures) + "delimiter: ';'")),
        Refused(HasSubstr("is not a number")))
        << bad;
  }
}

TEST(CsvSourceTest, RefusesLabelOutsideTheClasses) {
  EXPECT_THAT(ParseCsv("t.csv", "age,height,ill\n1,2,maybe\n",
                       Source(std::string(kTwoFeatures) +
                              "classes: 'no' classes: 'yes'")),
              Refused(AllOf(HasSubstr("t.csv:2:5:"), HasSubstr("\"maybe\""),
                            HasSubstr("(no, yes)"))));
}

TEST(CsvSourceTest, RefusesWordOutsideTheCategory) {
  EXPECT_THAT(ParseCsv("t.csv", "age,height,ill\nold,2,0\n",
                       Source(std::string(kTwoFeatures) +
                              "categorical { column: 'age' values: 'young' }")),
              Refused(AllOf(HasSubstr("t.csv:2:1:"), HasSubstr("\"old\""))));
}

TEST(CsvSourceTest, RefusesEmptyFileHeaderOnlyAndDuplicateColumn) {
  EXPECT_THAT(ParseCsv("t.csv", "", Source(kTwoFeatures)),
              Refused(HasSubstr("empty")));
  EXPECT_THAT(ParseCsv("t.csv", "age,height,ill\n", Source(kTwoFeatures)),
              Refused(HasSubstr("no rows")));
  EXPECT_THAT(ParseCsv("t.csv", "age,height,age\n", Source(kTwoFeatures)),
              Refused(HasSubstr("there twice")));
}

TEST(CsvSourceTest, RefusesQuotesOutOfPlace) {
  EXPECT_THAT(
      ParseCsv("t.csv", "age,height,ill\n1,\"2,0\n", Source(kTwoFeatures)),
      Refused(AllOf(HasSubstr("t.csv:2:3:"), HasSubstr("never closed"))));
  EXPECT_THAT(
      ParseCsv("t.csv", "age,height,ill\n1,2\"3,0\n", Source(kTwoFeatures)),
      Refused(HasSubstr("t.csv:2:4:")));
  EXPECT_THAT(
      ParseCsv("t.csv", "age,height,ill\n1,\"2\"3,0\n", Source(kTwoFeatures)),
      Refused(HasSubstr("after a closing quote")));
}

TEST(CsvSourceTest, RefusesScalesThatDoNotFitTheFeatures) {
  EXPECT_THAT(ParseCsv("t.csv", "age,height,ill\n1,2,0\n",
                       Source(std::string(kTwoFeatures) + "feature_mean: 1")),
              Refused(HasSubstr("1 means")));
  EXPECT_THAT(ParseCsv("t.csv", "age,height,ill\n1,2,0\n",
                       Source(std::string(kTwoFeatures) +
                              "feature_standard_deviation: [1, 0]")),
              Refused(HasSubstr("\"height\"")));
}

TEST(CsvSourceTest, RefusesMisnamedSections) {
  EXPECT_THAT(
      ParseCsv("t.csv", "age,height,ill\n1,2,0\n", Source("labels: 'ill'")),
      Refused(HasSubstr("`features`")));
  EXPECT_THAT(ParseCsv("t.csv", "age,height,ill\n1,2,0\n",
                       Source("features: 'age' features: 'age' labels: 'ill'")),
              Refused(HasSubstr("twice")));
  EXPECT_THAT(ParseCsv("t.csv", "age,height,ill\n1,2,0\n",
                       Source("features: 'age' labels: 'ill' "
                              "categorical { column: 'height' values: '2' }")),
              Refused(HasSubstr("not among the `features`")));
  EXPECT_THAT(ParseCsv("t.csv", "age,height,ill\n1,2,0\n",
                       Source(std::string(kTwoFeatures) + "delimiter: '::'")),
              Refused(HasSubstr("one character")));
}

TEST(CsvSourceTest, NamesMissingFile) {
  EXPECT_THAT(OpenCsv("/nowhere/t.csv", Source(kTwoFeatures)),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere")));
}

TEST(CsvSourceTest, ReadsOneColumnAsItStands) {
  EXPECT_THAT(ParseCsvColumn("t.csv", "a,b\n1,x y\n2,\"z\"\n", "", "b"),
              IsOkAndHolds(ElementsAre("x y", "z")));
  EXPECT_THAT(ParseCsvColumn("t.csv", "a,b\n1,x\n", "", "c"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace mledge
