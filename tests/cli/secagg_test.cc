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
  EXPECT_EQ(
      Parameters({"--clients", "1000", "--losses", "none"}).exit_status, 2);
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

}  // namespace
}  // namespace mledge
