#include "mledge/core/logging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

std::string LinesOf(const LoggingOptions& options,
                    const std::function<void()>& log) {
  InitializeLogging(options);
  ::testing::internal::CaptureStderr();
  log();
  std::string lines = ::testing::internal::GetCapturedStderr();
  InitializeLogging({});
  return lines;
}

nlohmann::json JsonOf(const std::string& message) {
  const std::string line = LinesOf(
      {.format = LoggingOptions::Format::kJsonLines, .component = "device-7"},
      [&] { LOG(ERROR) << message; });
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1) << line;
  return nlohmann::json::parse(line);
}

TEST(LoggingTest, TextNamesTimeSeverityComponentPlaceAndMessage) {
  const std::string line = LinesOf({.component = "coordinator"}, [] {
    LOG(WARNING) << "round " << 3 << " closed";
  });
  EXPECT_THAT(line, MatchesRegex("[0-9-]+T[0-9:.]+Z WARNING coordinator "
                                 "logging_test.cc:[0-9]+\\] round 3 closed\n"));
}

TEST(LoggingTest, LeavesOutWhatIsBelowTheMinimum) {
  const std::string lines =
      LinesOf({.minimum_severity = LogSeverity::kWarning}, [] {
        LOG(INFO) << "quiet";
        LOG(ERROR) << "loud";
      });
  EXPECT_THAT(lines, AllOf(HasSubstr("loud"), Not(HasSubstr("quiet"))));
}

TEST(LoggingTest, TextCannotBeForgedByLineBreaks) {
  const std::string lines = LinesOf(
      {}, [] { LOG(INFO) << "name: x\n2026-01-01T00:00:00Z ERROR forged"; });
  EXPECT_THAT(lines, HasSubstr("\n    2026-01-01"));
}

TEST(LoggingTest, TextShowsControlCharactersEscaped) {
  const std::string lines = LinesOf({}, [] { LOG(INFO) << "\x1b[2Jgone\r"; });
  EXPECT_THAT(lines, HasSubstr("\\x1b[2Jgone\\x0d"));
}

TEST(LoggingTest, JsonLineHasItsFields) {
  const nlohmann::json line = JsonOf("hello");
  EXPECT_EQ(line["severity"], "ERROR");
  EXPECT_EQ(line["component"], "device-7");
  EXPECT_EQ(line["message"], "hello");
  EXPECT_THAT(line["source"].get<std::string>(), HasSubstr("logging_test.cc:"));
  EXPECT_THAT(line["time"].get<std::string>(), MatchesRegex(".*T.*Z"));
}

TEST(LoggingTest, JsonEscapesQuotesBreaksAndControlCharacters) {
  const std::string message = "a \"quote\"\\ and\nbreak \x01 and {}";
  EXPECT_EQ(JsonOf(message)["message"], message);
}

TEST(LoggingTest, JsonReplacesBytesThatAreNotUtf8) {
  EXPECT_EQ(JsonOf("bad \xff byte")["message"], "bad \xef\xbf\xbd byte");
}

TEST(LoggingTest, ACheckThatHoldsEvaluatesOnceAndPrintsNothing) {
  int evaluated = 0;
  const std::string lines =
      LinesOf({}, [&] { CHECK(++evaluated == 1) << "not printed"; });
  EXPECT_EQ(evaluated, 1);
  EXPECT_EQ(lines, "");
}

TEST(LoggingDeathTest, ACheckThatFailsNamesTheConditionAndTheValues) {
  EXPECT_DEATH(CHECK(1 > 2) << "one is " << 1,
               "FATAL logging_test.cc:[0-9]+. CHECK failed: 1 > 2 one is 1");
}

TEST(LoggingDeathTest, FatalIsPrintedWhateverTheMinimum) {
  InitializeLogging({.minimum_severity = LogSeverity::kFatal});
  EXPECT_DEATH(LOG(FATAL) << "the end", "the end");
  InitializeLogging({});
}

}  // namespace
}  // namespace mledge
