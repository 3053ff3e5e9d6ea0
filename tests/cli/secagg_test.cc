#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mledge/tests/cli/run_mledge.h"
#include "nlohmann/json.hpp"

namespace mledge {
namespace {

using ::testing::HasSubstr;

CommandResult Parameters(std::vector<std::string> more) {
  std::vector<std::string> arguments = {"secagg", "parameters"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return RunMledge(arguments);
}

TEST(SecaggParametersTest, PrintsJson) {
  const CommandResult result =
      Parameters({"--clients", "1000", "--corrupt", "0.05", "--dropout", "0.05",
                  "--eta", "20", "--losses", "independent", "--json"});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["neighbors"], 52);
  EXPECT_EQ(json["threshold"], 37);
  EXPECT_EQ(json["device"]["key_agreements"], 104);
  EXPECT_EQ(json["device"]["masked_input_bytes"], 4'000'000);
}

TEST(SecaggParametersTest, PrintsTextForPeople) {
  const CommandResult result = Parameters({"--clients", "1000"});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("k = 124 neighbors, t = 86"));
  EXPECT_THAT(result.out, HasSubstr("signatures verified"));
}

TEST(SecaggParametersTest, ShowsBothChoicesOfLosses) {
  for (const auto& [losses, shown] :
       {std::pair{"independent", "k = 114 neighbors, t = 78"},
        std::pair{"adversarial", "k = 124 neighbors, t = 86"}}) {
    const CommandResult result =
        Parameters({"--clients", "1000", "--losses", losses});
    ASSERT_EQ(result.exit_status, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr(shown));
  }
  EXPECT_EQ(Parameters({"--clients", "1000", "--losses", "none"}).exit_status,
            2);
}

TEST(SecaggParametersTest, SaysWhenNobodyIsAssumedCorrupt) {
  const CommandResult result = Parameters({"--clients", "9"});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Nobody is assumed corrupt"));
}

TEST(SecaggParametersTest, SaysWhatIsInfeasible) {
  const CommandResult result = Parameters(
      {"--clients", "1000", "--corrupt", "0.33", "--dropout", "0.33"});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, HasSubstr("dropout fraction is 0.99"));
}

TEST(SecaggParametersTest, RefusesAnUnknownThreat) {
  EXPECT_EQ(
      Parameters({"--clients", "1000", "--threat", "angelic"}).exit_status, 2);
}

TEST(SecaggParametersTest, RefusesAModulusOfTooManyBits) {
  const CommandResult result =
      Parameters({"--clients", "1000", "--modulus-bits", "33"});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, HasSubstr("8 to 32 bits"));
}

CommandResult Bench(std::vector<std::string> more) {
  std::vector<std::string> arguments = {"secagg", "bench"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return RunMledge(arguments);
}

TEST(SecaggBenchTest, RunsATinySessionToItsExactSum) {
  const CommandResult result = Bench(
      {"--clients", "20", "--length", "1000", "--dropout", "0.1", "--json"});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["exact"], true);
  EXPECT_EQ(json["counted"], 18);
  EXPECT_EQ(json["masked_input_bytes"], 4000);
  EXPECT_GT(json["server_over_floor"], 0.0);
  EXPECT_GT(json["client_over_floor"], 0.0);
  const int64_t neighbors = json["neighbors"];
  EXPECT_LE(json["key_agreements"], 2 * neighbors);
  EXPECT_EQ(json["keystream_bytes"],
            4000 * (18 + json["key_agreements"].get<int64_t>()));
}

TEST(SecaggBenchTest, PrintsTextForPeople) {
  const CommandResult result = Bench({"--clients", "12", "--length", "100",
                                      "--dropout", "0", "--identity", "off"});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("12 in the sum, which is exact"));
  EXPECT_THAT(result.out, HasSubstr("ratio"));
}

TEST(SecaggBenchTest, RefusesWhatIsNoSession) {
  EXPECT_EQ(
      Bench({"--clients", "12", "--length", "0", "--dropout", "0"}).exit_status,
      2);
  const CommandResult lost =
      Bench({"--clients", "12", "--length", "10", "--dropout", "1.5"});
  EXPECT_EQ(lost.exit_status, 1);
  EXPECT_THAT(lost.err, HasSubstr("--dropout"));
  const CommandResult half = Bench({"--clients", "12", "--length", "10",
                                    "--dropout", "0", "--neighbors", "8"});
  EXPECT_EQ(half.exit_status, 1);
  EXPECT_THAT(half.err, HasSubstr("--threshold"));
}

}  // namespace
}  // namespace mledge
