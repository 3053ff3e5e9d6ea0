#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "mledge/core/ids.h"
#include "mledge/core/strings.h"
#include "mledge/task/internal/data_source.h"
#include "mledge/task/internal/nearest_name.h"
#include "mledge/task/internal/problems.h"
#include "mledge/task/validation.h"

namespace mledge {
namespace {

using task_internal::Problems;
using task_internal::SuggestName;

void RequireText(const std::string& value, std::string_view field,
                 std::string_view remedy, Problems* problems) {
  problems->Require(!value.empty(), field, StrCat("is missing; ", remedy));
}

// `host` may be empty where `port` is all that is needed.
void RequireHostAndPort(const std::string& value, std::string_view field,
                        bool port_zero_allowed, std::string_view example,
                        Problems* problems) {
  const size_t colon = value.rfind(':');
  int port = -1;
  const bool good = colon != std::string::npos && colon > 0 &&
                    absl::SimpleAtoi(value.substr(colon + 1), &port) &&
                    port >= (port_zero_allowed ? 0 : 1) && port <= 65535;
  problems->Require(good, field,
                    StrCat("is \"", value,
                           "\"; write host:port, such "
                           "as ",
                           example));
}

void ValidateIdentity(const v1::IdentityFiles& identity, Problems* problems) {
  RequireText(identity.certificate(), "identity.certificate",
              "name this process's certificate file (PEM), as written by "
              "`mledge pki issue`",
              problems);
  RequireText(identity.private_key(), "identity.private_key",
              "name the file with its private key (PEM)", problems);
  RequireText(identity.root(), "identity.root",
              "name the file with the root certificate (PEM), as written by "
              "`mledge pki init`",
              problems);
}

template <typename Ids>
void ValidateSigners(const Ids& ids, std::string_view field,
                     std::string_view whose, Problems* problems) {
  problems->Require(
      ids.size() > 0, field,
      StrCat("is missing; list the ids of the ", whose, " are accepted"));
  std::set<std::string> seen;
  for (const std::string& id : ids) {
    if (absl::Status status = ValidateId("id", id); !status.ok()) {
      problems->Add(field, ToStdView(status.message()));
    }
    problems->Require(seen.insert(id).second, field,
                      StrCat("names \"", id, "\" twice; leave one out"));
  }
}

void ValidateLog(v1::LogConfig* log, Problems* problems) {
  if (log->level().empty()) log->set_level("info");
  const std::string& level = log->level();
  problems->Require(level == "info" || level == "warning" || level == "error",
                    "log.level",
                    StrCat("is \"", level, "\"; ",
                           SuggestName(level, {"info", "warning", "error"})));
}

void ValidateThreads(int64_t threads, Problems* problems) {
  problems->Require(threads >= 1 && threads <= 1024, "threads",
                    StrCat("is ", threads, "; write 1 to 1024"));
}

constexpr int64_t kMostSessionsPerDay = 1000000;

void ValidateSessionsPerDay(int64_t sessions, std::string_view field,
                            Problems* problems) {
  problems->Require(
      sessions >= 1 && sessions <= kMostSessionsPerDay, field,
      StrCat("is ", sessions, "; write 1 to ", kMostSessionsPerDay));
}

// Whoever names a registrar pins its key; `address_needed`: and calls it.
void ValidateRegistrar(bool address_needed, v1::RegistrarAddress* registrar,
                       Problems* problems) {
  if (address_needed || !registrar->address().empty()) {
    RequireHostAndPort(registrar->address(), "registrar.address",
                       /*port_zero_allowed=*/false, "registrar.example:7444",
                       problems);
  }
  const std::string& key = registrar->witness_key();
  problems->Require(
      key.size() == 64 &&
          std::all_of(key.begin(), key.end(),
                      [](unsigned char c) { return absl::ascii_isxdigit(c); }),
      "registrar.witness_key",
      StrCat("is \"", key,
             "\"; write the 64 hexadecimal digits of the "
             "registrar's witness.pub"));
  if (registrar->sessions_per_day() == 0) registrar->set_sessions_per_day(1000);
  ValidateSessionsPerDay(registrar->sessions_per_day(),
                         "registrar.sessions_per_day", problems);
}

// What a device demands of sessions of secure aggregation.
void ValidateSecureAggregationPolicy(v1::SecureAggregationPolicy* policy,
                                     Problems* problems) {
  if (!policy->has_corrupt_fraction()) policy->set_corrupt_fraction(0.1);
  problems->RequireFraction("secure_aggregation.corrupt_fraction",
                            policy->corrupt_fraction());
  if (policy->sigma() == 0) policy->set_sigma(40);
  problems->Require(policy->sigma() >= 1 && policy->sigma() <= 100,
                    "secure_aggregation.sigma",
                    StrCat("is ", policy->sigma(), "; write 1 to 100"));
  const auto least = [&](std::string_view field, int64_t value, int64_t fewest,
                         std::string_view why) {
    problems->Require(
        value >= fewest && value <= 1'000'000, field,
        StrCat("is ", value, "; write ", fewest, " to 1000000", why));
  };
  if (policy->least_devices() == 0) policy->set_least_devices(20);
  least("secure_aggregation.least_devices", policy->least_devices(), 3,
        ": a sum of fewer hides nobody");
  if (policy->least_alive() == 0) policy->set_least_alive(20);
  least("secure_aggregation.least_alive", policy->least_alive(), 2,
        ": a sum of one is that one");
  if (policy->sessions_per_day() == 0) policy->set_sessions_per_day(100);
  ValidateSessionsPerDay(policy->sessions_per_day(),
                         "secure_aggregation.sessions_per_day", problems);
}

// What a device demands of a task's differential privacy.
void ValidatePrivacyPolicy(v1::PrivacyPolicy* policy, Problems* problems) {
  if (!policy->has_epsilon_limit()) policy->set_epsilon_limit(10);
  problems->RequirePositive("privacy.epsilon_limit", policy->epsilon_limit(),
                            "10");
  if (!policy->has_delta_limit()) policy->set_delta_limit(1e-5);
  problems->Require(policy->delta_limit() > 0 && policy->delta_limit() < 1,
                    "privacy.delta_limit",
                    StrCat("is ", policy->delta_limit(),
                           "; write a number between 0 and 1, such as 1e-6"));
}

// `value` in whole seconds from `least` to a year.
void ValidateDuration(const google::protobuf::Duration& value, int64_t least,
                      std::string_view field, Problems* problems) {
  constexpr int64_t kYear = 366 * 24 * 3600;
  problems->Require(
      value.seconds() >= least && value.seconds() <= kYear, field,
      StrCat("is ", value.seconds(), "s; write ", least, "s to ", kYear, "s"));
}

}  // namespace

absl::Status ValidateDeviceConfig(v1::DeviceConfig* config) {
  Problems problems;
  RequireHostAndPort(config->coordinator(), "coordinator",
                     /*port_zero_allowed=*/false, "coordinator.example:7443",
                     &problems);
  if (config->coordinator_name().empty()) {
    config->set_coordinator_name(
        config->coordinator().substr(0, config->coordinator().rfind(':')));
  }
  RequireText(config->state_directory(), "state_directory",
              "name the folder for queue, caches and journal", &problems);
  config->mutable_identity();
  ValidateIdentity(config->identity(), &problems);
  if (config->population().empty()) config->set_population("default");
  if (absl::Status status = ValidateId("population", config->population());
      !status.ok()) {
    problems.Add("population", ToStdView(status.message()));
  }
  ValidateSigners(config->trusted_operators(), "trusted_operators",
                  "operators whose tasks", &problems);
  ValidateSigners(config->trusted_model_signers(), "trusted_model_signers",
                  "model-signers whose packages", &problems);
  task_internal::ValidateDataSource("data", config->mutable_data(), &problems);
  if (config->threads() == 0) config->set_threads(1);
  ValidateThreads(config->threads(), &problems);
  if (!config->has_maximum_check_in_interval()) {
    config->mutable_maximum_check_in_interval()->set_seconds(60);
  }
  const auto& interval = config->maximum_check_in_interval();
  problems.Require(interval.seconds() > 0 ||
                       (interval.seconds() == 0 && interval.nanos() > 0),
                   "maximum_check_in_interval",
                   "must be longer than 0; write for example 60s");
  if (config->maximum_state_bytes() == 0) {
    config->set_maximum_state_bytes(uint64_t{1} << 30);
  }
  ValidatePrivacyPolicy(config->mutable_privacy(), &problems);
  if (config->has_registrar()) {
    ValidateRegistrar(/*address_needed=*/false, config->mutable_registrar(),
                      &problems);
    ValidateSecureAggregationPolicy(config->mutable_secure_aggregation(),
                                    &problems);
  } else {
    problems.Require(!config->has_secure_aggregation(), "secure_aggregation",
                     "goes with `registrar: {witness_key: …}`, without which "
                     "this device takes no part in secure aggregation; write "
                     "that, or leave this out");
  }
  ValidateLog(config->mutable_log(), &problems);
  return problems.ToStatus();
}

absl::Status ValidateCoordinatorConfig(v1::CoordinatorConfig* config) {
  Problems problems;
  if (config->listen().empty()) config->set_listen("0.0.0.0:7443");
  RequireHostAndPort(config->listen(), "listen", /*port_zero_allowed=*/true,
                     "0.0.0.0:7443", &problems);
  RequireText(config->state_directory(), "state_directory",
              "name the folder for everything that must survive a restart",
              &problems);
  config->mutable_identity();
  ValidateIdentity(config->identity(), &problems);
  ValidateSigners(config->trusted_operators(), "trusted_operators",
                  "operators whose tasks", &problems);
  ValidateSigners(config->trusted_model_signers(), "trusted_model_signers",
                  "model-signers whose packages", &problems);
  if (config->maximum_upload_bytes() == 0) {
    config->set_maximum_upload_bytes(uint64_t{1} << 32);
  }
  if (config->threads() == 0) {
    config->set_threads(std::max(1U, std::thread::hardware_concurrency()));
  }
  ValidateThreads(config->threads(), &problems);
  if (config->has_registrar()) {
    ValidateRegistrar(/*address_needed=*/true, config->mutable_registrar(),
                      &problems);
  }
  ValidateLog(config->mutable_log(), &problems);
  return problems.ToStatus();
}

absl::Status ValidateRegistrarConfig(v1::RegistrarConfig* config) {
  Problems problems;
  if (config->listen().empty()) config->set_listen("0.0.0.0:7444");
  RequireHostAndPort(config->listen(), "listen", /*port_zero_allowed=*/true,
                     "0.0.0.0:7444", &problems);
  if (!config->enroll_listen().empty()) {
    RequireHostAndPort(config->enroll_listen(), "enroll_listen",
                       /*port_zero_allowed=*/true, "0.0.0.0:7445", &problems);
  }
  if (config->hosts().empty()) {
    for (const char* host : {"localhost", "127.0.0.1", "::1"}) {
      config->add_hosts(host);
    }
  }
  RequireText(config->state_directory(), "state_directory",
              "name the folder for what is issued, revoked and witnessed",
              &problems);
  const v1::RegistrarKeys& keys = *config->mutable_keys();
  constexpr std::string_view kRemedy =
      "name the file that `mledge pki init` wrote";
  RequireText(keys.certificate(), "keys.certificate", kRemedy, &problems);
  RequireText(keys.private_key(), "keys.private_key", kRemedy, &problems);
  RequireText(keys.witness_key(), "keys.witness_key", kRemedy, &problems);
  RequireText(keys.root(), "keys.root", kRemedy, &problems);
  ValidateSigners(config->operators(), "operators",
                  "operators whose orders to issue and revoke", &problems);
  ValidateSigners(config->coordinators(), "coordinators",
                  "coordinators whose sessions and versions", &problems);
  if (!config->has_certificate_validity()) {
    config->mutable_certificate_validity()->set_seconds(90 * 24 * 3600);
  }
  ValidateDuration(config->certificate_validity(), 3600, "certificate_validity",
                   &problems);
  if (!config->has_revocation_list_validity()) {
    config->mutable_revocation_list_validity()->set_seconds(24 * 3600);
  }
  ValidateDuration(config->revocation_list_validity(), 60,
                   "revocation_list_validity", &problems);
  if (config->sessions_per_day() == 0) config->set_sessions_per_day(1000);
  ValidateSessionsPerDay(config->sessions_per_day(), "sessions_per_day",
                         &problems);
  ValidateLog(config->mutable_log(), &problems);
  return problems.ToStatus();
}

}  // namespace mledge
