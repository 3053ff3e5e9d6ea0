#include "mledge/task/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "mledge/core/file.h"
#include "mledge/core/strings.h"
#include "mledge/task/validation.h"
#include "mledge/tests/support/proto_matchers.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr std::string_view kDevice = R"(
coordinator: "example.org:7443"
state_directory: state
identity: {certificate: pki/d.pem, private_key: pki/d.key, root: /r.pem}
trusted_operators: [olivia]
trusted_model_signers: [max]
data:
  idx: {images: i, labels: l}
  index_file: parts/0.txt
)";

constexpr std::string_view kCoordinator = R"(
state_directory: state
identity: {certificate: c.pem, private_key: c.key, root: r.pem}
trusted_operators: [olivia]
trusted_model_signers: [max]
)";

template <typename Load>
auto LoadText(std::string_view text, Load load,
              std::vector<std::string> overrides = {}) {
  TempDirectory directory;
  EXPECT_THAT(WriteFileAtomically(directory.File("c.yaml"), text), IsOk());
  return load(directory.File("c.yaml"), overrides);
}

TEST(LoadDeviceConfigTest, FillsInDefaultsAndResolvesPaths) {
  TempDirectory directory;
  ASSERT_THAT(WriteFileAtomically(directory.File("d.yaml"), kDevice), IsOk());
  const auto config = LoadDeviceConfig(directory.File("d.yaml"));
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->coordinator_name(), "example.org");
  EXPECT_EQ(config->population(), "default");
  EXPECT_EQ(config->threads(), 1);
  EXPECT_EQ(config->maximum_check_in_interval().seconds(), 60);
  EXPECT_THAT(config->privacy(),
              EqualsProto("epsilon_limit: 10 delta_limit: 1e-5"));
  EXPECT_EQ(config->maximum_state_bytes(), 1073741824u);
  EXPECT_EQ(config->log().level(), "info");
  EXPECT_EQ(config->data().idx().standard_deviation(), 1);
  EXPECT_EQ(config->state_directory(), directory.File("state"));
  EXPECT_EQ(config->identity().private_key(), directory.File("pki/d.key"));
  EXPECT_EQ(config->identity().root(), "/r.pem");
  EXPECT_EQ(config->state_key(), directory.File("pki/state.key"));
  const auto elsewhere = LoadDeviceConfig(
      directory.File("d.yaml"), std::vector<std::string>{"state_key=safe/key"});
  ASSERT_THAT(elsewhere, IsOk());
  EXPECT_EQ(elsewhere->state_key(), directory.File("safe/key"));
  EXPECT_EQ(config->data().index_file(), directory.File("parts/0.txt"));
}

TEST(LoadDeviceConfigTest, NamesEveryBadField) {
  const struct {
    const char* override_;
    const char* part;
  } cases[] = {
      {"coordinator=example.org",
       "coordinator: is \"example.org\"; write "
       "host:port"},
      {"coordinator=example.org:0", "coordinator: "},
      {"coordinator=example.org:70000", "coordinator: "},
      {"coordinator=\":7443\"", "coordinator: "},
      {"state_directory=\"\"", "state_directory: is missing"},
      {"identity={}", "identity.certificate: is missing"},
      {"trusted_operators=[]", "trusted_operators: is missing"},
      {"trusted_operators=[a, a]", "twice"},
      {"trusted_model_signers=[a/b]", "trusted_model_signers: "},
      {"data={}", "data: is missing"},
      {"threads=-1", "threads: is -1"},
      {"maximum_check_in_interval=0s", "maximum_check_in_interval: "},
      {"maximum_check_in_interval=-5s", "maximum_check_in_interval: "},
      {"log.level=debug", "log.level: is \"debug\""},
      {"population=a/b", "population: "},
  };
  for (const auto& [override_, part] : cases) {
    EXPECT_THAT(LoadText(kDevice, LoadDeviceConfig, {override_}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(part)))
        << override_;
  }
}

std::string WithRegistrar() {
  return StrCat(kDevice, "registrar: {witness_key: ", std::string(64, 'a'),
                "}\n");
}

TEST(LoadDeviceConfigTest, RegistrarBringsThePolicyOfSecureAggregation) {
  const auto without = LoadText(kDevice, LoadDeviceConfig);
  ASSERT_THAT(without, IsOk());
  EXPECT_FALSE(without->has_secure_aggregation());
  const auto config = LoadText(WithRegistrar(), LoadDeviceConfig);
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->registrar().sessions_per_day(), 1000);
  const v1::SecureAggregationPolicy& policy = config->secure_aggregation();
  EXPECT_EQ(policy.corrupt_fraction(), 0.1);
  EXPECT_EQ(policy.sigma(), 40);
  EXPECT_FALSE(policy.allow_semi_honest());
  EXPECT_EQ(policy.least_devices(), 20);
  EXPECT_EQ(policy.least_alive(), 20);
  EXPECT_EQ(policy.sessions_per_day(), 100);
}

TEST(LoadDeviceConfigTest, CorruptFractionMayBeNone) {
  const auto config = LoadText(WithRegistrar(), LoadDeviceConfig,
                               {"secure_aggregation.corrupt_fraction=0"});
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->secure_aggregation().corrupt_fraction(), 0);
}

TEST(LoadDeviceConfigTest, NamesEveryBadFieldOfPrivacy) {
  for (const auto& [override_, part] :
       {std::pair{"privacy.epsilon_limit=0", "privacy.epsilon_limit: is 0"},
        std::pair{"privacy.epsilon_limit=-1", "privacy.epsilon_limit: is -1"},
        std::pair{"privacy.delta_limit=0", "privacy.delta_limit: is 0"},
        std::pair{"privacy.delta_limit=1", "privacy.delta_limit: is 1"}}) {
    EXPECT_THAT(LoadText(kDevice, LoadDeviceConfig, {override_}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(part)))
        << override_;
  }
}

TEST(LoadDeviceConfigTest, NamesEveryBadFieldOfSecureAggregation) {
  const struct {
    const char* override_;
    const char* part;
  } cases[] = {
      {"registrar.witness_key=abc", "registrar.witness_key: is \"abc\""},
      {"registrar.sessions_per_day=-1", "registrar.sessions_per_day: is -1"},
      {"secure_aggregation.corrupt_fraction=1", "corrupt_fraction: is 1"},
      {"secure_aggregation.corrupt_fraction=-0.1", "corrupt_fraction: is -0.1"},
      {"secure_aggregation.corrupt_fraction=.nan",
       "corrupt_fraction: expected"},
      {"secure_aggregation.sigma=101", "sigma: is 101"},
      {"secure_aggregation.sigma=-1", "sigma: is -1"},
      {"secure_aggregation.least_devices=2", "least_devices: is 2"},
      {"secure_aggregation.least_devices=1000001", "least_devices: is 1000001"},
      {"secure_aggregation.least_alive=1", "least_alive: is 1"},
      {"secure_aggregation.sessions_per_day=-1", "sessions_per_day: is -1"},
  };
  for (const auto& [override_, part] : cases) {
    EXPECT_THAT(LoadText(WithRegistrar(), LoadDeviceConfig, {override_}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(part)))
        << override_;
  }
  EXPECT_THAT(LoadText(kDevice, LoadDeviceConfig,
                       {"secure_aggregation.least_devices=30"}),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("secure_aggregation: goes with `registrar")));
}

TEST(LoadDeviceConfigTest, IPv6AddressKeepsItsColons) {
  const auto config =
      LoadText(kDevice, LoadDeviceConfig, {"coordinator=\"[::1]:7443\""});
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->coordinator_name(), "[::1]");
}

TEST(LoadCoordinatorConfigTest, FillsInDefaults) {
  const auto config = LoadText(kCoordinator, LoadCoordinatorConfig);
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->listen(), "0.0.0.0:7443");
  EXPECT_EQ(config->maximum_upload_bytes(), 4294967296u);
  EXPECT_GE(config->threads(), 1);
}

TEST(LoadCoordinatorConfigTest, PortZeroAsksForAnyPort) {
  EXPECT_THAT(
      LoadText(kCoordinator, LoadCoordinatorConfig, {"listen=127.0.0.1:0"}),
      IsOk());
}

TEST(LoadCoordinatorConfigTest, NamesEveryBadField) {
  const struct {
    const char* override_;
    const char* part;
  } cases[] = {
      {"listen=7443", "listen: is \"7443\""},
      {"listen=host:-1", "listen: "},
      {"state_directory=\"\"", "state_directory: is missing"},
      {"identity={}", "identity.root: is missing"},
      {"trusted_operators=[]", "trusted_operators: is missing"},
      {"trusted_model_signers=[]", "trusted_model_signers: is missing"},
      {"threads=5000", "threads: is 5000"},
      {"log.level=LOUD", "log.level: "},
      {"data={}", "unknown field"},
  };
  for (const auto& [override_, part] : cases) {
    EXPECT_THAT(LoadText(kCoordinator, LoadCoordinatorConfig, {override_}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(part)))
        << override_;
  }
}

constexpr std::string_view kRegistrar = R"(
state_directory: state
keys: {certificate: r.crt, private_key: r.key, witness_key: w.key, root: /r.crt}
operators: [olivia]
coordinators: [main]
)";

TEST(LoadRegistrarConfigTest, FillsInDefaultsAndResolvesPaths) {
  TempDirectory directory;
  ASSERT_THAT(WriteFileAtomically(directory.File("r.yaml"), kRegistrar),
              IsOk());
  const auto config = LoadRegistrarConfig(directory.File("r.yaml"));
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->listen(), "0.0.0.0:7444");
  EXPECT_EQ(config->enroll_listen(), "");
  EXPECT_EQ(config->hosts_size(), 3);
  EXPECT_EQ(config->certificate_validity().seconds(), 90 * 24 * 3600);
  EXPECT_EQ(config->revocation_list_validity().seconds(), 24 * 3600);
  EXPECT_EQ(config->sessions_per_day(), 1000);
  EXPECT_EQ(config->state_directory(), directory.File("state"));
  EXPECT_EQ(config->keys().witness_key(), directory.File("w.key"));
  EXPECT_EQ(config->keys().root(), "/r.crt");
}

TEST(LoadRegistrarConfigTest, NamesEveryBadField) {
  const struct {
    const char* override_;
    const char* part;
  } cases[] = {
      {"listen=7444", "listen: is \"7444\""},
      {"enroll_listen=x", "enroll_listen: is \"x\""},
      {"state_directory=\"\"", "state_directory: is missing"},
      {"keys={}", "keys.witness_key: is missing"},
      {"operators=[]", "operators: is missing"},
      {"coordinators=[]", "coordinators: is missing"},
      {"coordinators=[a, a]", "coordinators: names \"a\" twice"},
      {"certificate_validity=30m", "certificate_validity: is 1800s"},
      {"revocation_list_validity=1s", "revocation_list_validity: is 1s"},
      {"sessions_per_day=-1", "sessions_per_day: is -1"},
      {"sessions_per_day=2000000", "sessions_per_day: is 2000000"},
      {"log.level=LOUD", "log.level: "},
      {"identity={}", "unknown field"},
  };
  for (const auto& [override_, part] : cases) {
    EXPECT_THAT(LoadText(kRegistrar, LoadRegistrarConfig, {override_}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(part)))
        << override_;
  }
}

TEST(RegistrarAddressTest, WitnessKeyIsPinnedByWhoeverNamesARegistrar) {
  const std::string key(64, 'a');
  const std::string good = StrCat(
      "registrar={address: \"r:7444\", "
      "witness_key: \"",
      key, "\"}");
  const auto coordinator =
      LoadText(kCoordinator, LoadCoordinatorConfig, {good});
  ASSERT_THAT(coordinator, IsOk());
  EXPECT_EQ(coordinator->registrar().sessions_per_day(), 1000);
  // Devices do without the address, coordinators do not.
  const std::string no_address =
      StrCat("registrar={witness_key: \"", key, "\"}");
  EXPECT_THAT(LoadText(kDevice, LoadDeviceConfig, {no_address}), IsOk());
  EXPECT_THAT(
      LoadText(kCoordinator, LoadCoordinatorConfig, {no_address}),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("registrar.address")));
  for (const std::string& bad :
       {std::string("registrar={address: \"r:7444\"}"),
        StrCat("registrar={witness_key: \"", key, "a\"}"),
        StrCat("registrar={witness_key: \"", std::string(64, 'g'), "\"}")}) {
    EXPECT_THAT(LoadText(kDevice, LoadDeviceConfig, {bad}),
                StatusIs(StatusCode::kInvalidArgument,
                         HasSubstr("registrar.witness_key")))
        << bad;
  }
  EXPECT_THAT(LoadText(kDevice, LoadDeviceConfig,
                       {no_address, "registrar.sessions_per_day=-5"}),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("registrar.sessions_per_day")));
}

TEST(LoadCoordinatorConfigTest, MissingFileIsNamed) {
  EXPECT_THAT(LoadCoordinatorConfig("/nowhere/c.yaml"),
              StatusIs(StatusCode::kNotFound, HasSubstr("/nowhere/c.yaml")));
}

TEST(LoadCoordinatorConfigTest, UnknownFieldNamesFileAndLine) {
  EXPECT_THAT(LoadText("listn: x\n", LoadCoordinatorConfig),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("c.yaml:1:1: listn: unknown field; did you "
                                 "mean \"listen\"?")));
}

}  // namespace
}  // namespace mledge
