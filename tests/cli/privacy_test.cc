#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mledge/tests/cli/run_mledge.h"
#include "nlohmann/json.hpp"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

using Arguments = std::vector<std::string>;

CommandResult Privacy(const std::string& verb, const Arguments& more) {
  Arguments arguments = {"privacy", verb};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return RunMledge(arguments);
}

// `base` with `more` behind it.
Arguments With(Arguments base, const Arguments& more) {
  base.insert(base.end(), more.begin(), more.end());
  return base;
}

nlohmann::json Json(const CommandResult& result) {
  EXPECT_EQ(result.exit_status, 0) << result.err;
  return nlohmann::json::parse(result.out);
}

// DP-FedAvg: 763,430 users, 5000 expected a round.
const Arguments kFedAvg = {"--noise-multiplier",
                           "1",
                           "--sampling-probability",
                           "0.006549389",
                           "--steps",
                           "5000",
                           "--delta",
                           "1e-9",
                           "--json"};

TEST(PrivacyEpsilonTest, PrintsThePublishedRunOfDpFedAvg) {
  EXPECT_NEAR(Json(Privacy("epsilon", kFedAvg))["epsilon"], 3.899, 5e-4);
  EXPECT_NEAR(Json(Privacy("epsilon",
                           With(kFedAvg, {"--accountant", "rdp"})))["epsilon"],
              4.183, 5e-4);
  EXPECT_NEAR(
      Json(Privacy("epsilon",
                   With(kFedAvg, {"--accountant", "rdp", "--conversion",
                                  "classic", "--orders", "2..33"})))["epsilon"],
      4.634, 5e-4);
}

TEST(PrivacyEpsilonTest, CarriesItsClaim) {
  const nlohmann::json json = Json(Privacy("epsilon", kFedAvg));
  EXPECT_EQ(json["noise_multiplier"], 1);
  EXPECT_EQ(json["accountant"], "pld");
  EXPECT_EQ(json["observer"], "model-recipients");
  EXPECT_EQ(json["adjacency"], "add-or-remove");
  EXPECT_EQ(json["unit"], "device");
  EXPECT_GE(json["assumptions"].size(), 5u);
}

TEST(PrivacyEpsilonTest, PrintsTextForPeople) {
  const CommandResult result =
      Privacy("epsilon", {"--noise-multiplier", "4", "--steps", "1",
                          "--sampling", "none", "--delta", "1e-6"});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("epsilon "),
                    HasSubstr("standard deviation over clip norm"),
                    HasSubstr("against model-recipients, per device, "
                              "adjacency zero-out, by pld, assuming that"),
                    HasSubstr("  - ")));
}

TEST(PrivacyEpsilonTest, EnforcedParticipationsCountInsteadOfSteps) {
  const Arguments base = {"--noise-multiplier",
                          "5",
                          "--steps",
                          "1000",
                          "--delta",
                          "1e-6",
                          "--json",
                          "--sampling",
                          "none"};
  const double six = Json(
      Privacy("epsilon", With(base, {"--participations", "6"})))["epsilon"];
  const double separated =
      Json(Privacy("epsilon", With(base, {"--separation", "180"})))["epsilon"];
  EXPECT_EQ(six, separated);
  EXPECT_GT(Json(Privacy("epsilon", base))["epsilon"], 10 * six);
}

TEST(PrivacyEpsilonTest, SamplingWithoutReplacementIsAboutReplacing) {
  const Arguments base = {"--noise-multiplier",
                          "1.6",
                          "--steps",
                          "500",
                          "--delta",
                          "1e-6",
                          "--json",
                          "--sampling-probability",
                          "0.01"};
  const Arguments fixed = With(
      base, {"--sampling", "without-replacement", "--population", "10000"});
  const nlohmann::json rdp =
      Json(Privacy("epsilon", With(fixed, {"--accountant", "rdp"})));
  EXPECT_NEAR(rdp["epsilon"], 4.58, 5e-3);
  EXPECT_EQ(rdp["adjacency"], "replace-one");
  EXPECT_NEAR(Json(Privacy("epsilon", base))["epsilon"], 0.68, 5e-3);
  const CommandResult refused =
      Privacy("epsilon", With(fixed, {"--adjacency", "zero-out"}));
  EXPECT_EQ(refused.exit_status, 1);
  EXPECT_THAT(refused.err, HasSubstr("supported: replace-one"));
}

TEST(PrivacyEpsilonTest, WarnsOfADeltaThatIsNotBelowOneOverThePopulation) {
  const Arguments base = {"--noise-multiplier", "4",    "--steps", "1",
                          "--sampling",         "none", "--json"};
  const CommandResult loud = Privacy(
      "epsilon", With(base, {"--delta", "1e-3", "--population", "1000"}));
  EXPECT_THAT(loud.err, HasSubstr("WARNING"));
  EXPECT_EQ(Json(loud)["warnings"].size(), 1u);
  const CommandResult quiet = Privacy(
      "epsilon", With(base, {"--delta", "1e-5", "--population", "1000"}));
  EXPECT_THAT(quiet.err, Not(HasSubstr("WARNING")));
}

TEST(PrivacyEpsilonTest, RefusesAnObserverWhoKnowsTheNoise) {
  const CommandResult result =
      Privacy("epsilon", With(kFedAvg, {"--observer", "coordinator"}));
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, HasSubstr("no guarantee for observer coordinator"));
}

TEST(PrivacyEpsilonTest, RefusesEachBadValueByName) {
  struct Bad {
    std::string option;
    std::vector<std::string> values;
    std::string named;
  };
  for (const Bad& bad : std::vector<Bad>{
           {"--noise-multiplier",
            {"0", "-1", "nan", "inf", "1e300"},
            "noise_multiplier"},
           {"--sampling-probability",
            {"0", "-1", "nan", "inf", "1.5"},
            "sampling_probability"},
           {"--steps", {"0", "-3", "4000000000"}, "steps"},
           {"--delta", {"0", "-1", "nan", "inf", "1"}, "delta"},
           {"--population", {"-5", "9000000000000000"}, "population"}}) {
    for (const std::string& value : bad.values) {
      Arguments arguments;
      for (const auto& [option, good] :
           std::vector<std::pair<std::string, std::string>>{
               {"--noise-multiplier", "1"},
               {"--sampling-probability", "0.1"},
               {"--steps", "10"},
               {"--delta", "1e-6"},
               {"--population", "1000"}}) {
        arguments.push_back(option);
        arguments.push_back(option == bad.option ? value : good);
      }
      const CommandResult result = Privacy("epsilon", arguments);
      EXPECT_EQ(result.exit_status, 1) << bad.option << ' ' << value;
      EXPECT_THAT(result.err,
                  AllOf(HasSubstr(bad.named), HasSubstr("it must be")))
          << bad.option << ' ' << value;
    }
  }
  // What no number is a mistake of the command line.
  EXPECT_EQ(
      Privacy("epsilon", With(kFedAvg, {"--population", "many"})).exit_status,
      2);
}

TEST(PrivacyEpsilonTest, RefusesOptionsThatDoNotGoTogether) {
  for (const auto& [more, says] :
       std::vector<std::pair<Arguments, std::string>>{
           {{"--orders", "2..33"}, "--accountant rdp"},
           {{"--conversion", "classic"}, "--accountant rdp"},
           {{"--participations", "3"}, "use sampling none"},
           {{"--sampling", "none"}, "leave it out"},
           {{"--sampling", "without-replacement"}, "needs a population"},
           {{"--sampling", "without-replacement", "--population", "100"},
            "a whole number"},
           {{"--accountant", "rdp", "--orders", "1..5"}, "order 1"},
           {{"--accountant", "rdp", "--orders", "five"}, "neither a number"},
           {{"--adjacency", "replace-one"},
            "supported: add-or-remove, zero-out"}}) {
    const CommandResult result = Privacy("epsilon", With(kFedAvg, more));
    EXPECT_EQ(result.exit_status, 1) << says;
    EXPECT_THAT(result.err, HasSubstr(says));
  }
}

TEST(PrivacyCalibrateTest, FindsNoiseJustBelowTheTarget) {
  for (const char* accountant : {"pld", "rdp"}) {
    const nlohmann::json json = Json(Privacy(
        "calibrate",
        {"--target-epsilon", "2", "--sampling-probability", "0.001", "--steps",
         "2000", "--delta", "1e-6", "--accountant", accountant, "--json"}));
    EXPECT_LE(json["epsilon"], 2);
    EXPECT_GE(json["epsilon"], 1.998);
    EXPECT_EQ(json["accountant"], accountant);
    if (std::string(accountant) == "pld") {
      EXPECT_NEAR(json["noise_multiplier"], 0.623, 5e-4);
    }
  }
}

TEST(PrivacyCalibrateTest, RefusesBadTargets) {
  for (const char* value : {"0", "-1", "nan", "inf", "1e300"}) {
    const CommandResult result = Privacy(
        "calibrate",
        {"--target-epsilon", value, "--steps", "10", "--delta", "1e-6"});
    EXPECT_EQ(result.exit_status, 1) << value;
    EXPECT_THAT(result.err, HasSubstr("target epsilon"));
  }
}

}  // namespace
}  // namespace mledge
