// mledge-device CONFIG.yaml [--set FIELD=VALUE]: a device (or an evaluator, by
// its certificate) that takes part in rounds until it is told to stop.

#include <pthread.h>
#include <signal.h>

#include <array>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "mledge/client/device_agent.h"
#include "mledge/client/example_sources.h"
#include "mledge/client/grpc/grpc_connection.h"
#include "mledge/client/storage/sqlite_device_storage.h"
#include "mledge/client/torch/torch_trainer.h"
#include "mledge/core/logging.h"
#include "mledge/core/program/program_main.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/core/version.h"
#include "mledge/identity/tls_identity.h"
#include "mledge/task/config_file.h"

namespace mledge {
namespace {

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) +
         absl::Nanoseconds(duration.nanos());
}

// A thread that takes SIGINT and SIGTERM and stops the agent.
class StopSignals {
 public:
  StopSignals(const sigset_t& signals, DeviceAgent* agent)
      : thread_([&signals, agent] {
          int signal = 0;
          sigwait(&signals, &signal);
          agent->Stop();
        }) {}
  // Run may have ended for another reason than a signal.
  ~StopSignals() {
    pthread_kill(thread_.native_handle(), SIGTERM);
    thread_.join();
  }

 private:
  std::thread thread_;
};

// What a device brings to sessions of secure aggregation; null where its
// configuration names no registrar, and for evaluators, who never train.
absl::StatusOr<std::unique_ptr<SecureIdentity>> MakeSecureIdentity(
    const v1::DeviceConfig& config, const TlsIdentity& identity,
    DeviceStorage& storage) {
  if (!config.has_registrar() || identity.identity.role != Role::kDevice) {
    return nullptr;
  }
  MLEDGE_ASSIGN_OR_RETURN(const uint64_t list_number, storage.LoadListNumber());
  return SecureIdentity::Create(identity, config.registrar().witness_key(),
                                list_number);
}

void SetSecurePolicy(const v1::DeviceConfig& config,
                     DeviceAgent::Options* options) {
  const v1::SecureAggregationPolicy& policy = config.secure_aggregation();
  options->session.policy.secure =
      SecureAssignmentPolicy{.allow_semi_honest = policy.allow_semi_honest(),
                             .least_devices = policy.least_devices()};
  options->secure.session = {
      .corrupt_fraction = policy.corrupt_fraction(),
      .sigma = policy.sigma(),
      .threat_model = policy.allow_semi_honest()
                          ? secagg::ThreatModel::kSemiHonest
                          : secagg::ThreatModel::kSemiMalicious,
      .least_clients = policy.least_devices(),
      .least_alive = policy.least_alive()};
  options->secure.registrar_sessions_per_day =
      config.registrar().sessions_per_day();
  options->secure.sessions_per_day = policy.sessions_per_day();
}

PrivacyPolicy PrivacyPolicyOf(const v1::DeviceConfig& config) {
  const v1::PrivacyPolicy& policy = config.privacy();
  PrivacyPolicy demanded = {.epsilon_limit = policy.epsilon_limit(),
                            .delta_limit = policy.delta_limit()};
  if (policy.require() == v1::PrivacyPolicy::AGAINST_MODEL_RECIPIENTS) {
    demanded.require = Observer::kModelRecipients;
  } else if (policy.require() == v1::PrivacyPolicy::AGAINST_COORDINATOR) {
    demanded.require = Observer::kCoordinator;
  }
  return demanded;
}

absl::Status RunDevice(const std::string& config_path,
                       const std::vector<std::string>& overrides,
                       const sigset_t& stop_signals) {
  MLEDGE_ASSIGN_OR_RETURN(const v1::DeviceConfig config,
                          LoadDeviceConfig(config_path, overrides));
  constexpr std::array<Role, 2> kRoles = {Role::kDevice, Role::kEvaluator};
  MLEDGE_ASSIGN_OR_RETURN(
      const TlsIdentity identity,
      LoadTlsIdentity(config.identity(), kRoles, absl::Now()));
  StartLogging(config.log(), identity.identity.id);

  absl::StatusOr<std::shared_ptr<const ExampleStore>> examples =
      OpenExamples(config.data(), "");
  if (!examples.ok()) return Annotate(examples.status(), "data");
  const std::unique_ptr<StateKey> state_key =
      MakeFileStateKey(config.state_key());
  SqliteDeviceStorageOptions state;
  state.directory = config.state_directory();
  state.device = DeviceId(identity.identity.id);
  state.state_key = state_key.get();
  state.maximum_cache_bytes = config.maximum_state_bytes();
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<DeviceStorage> storage,
                          OpenSqliteDeviceStorage(state));
  MLEDGE_ASSIGN_OR_RETURN(
      const std::unique_ptr<Connection> connection,
      CreateGrpcConnection({.target = config.coordinator(),
                            .server_name = config.coordinator_name()},
                           identity));
  const std::unique_ptr<TrainerFactory> trainers = CreateTorchTrainerFactory();
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<SecureIdentity> secure,
                          MakeSecureIdentity(config, identity, *storage));

  DeviceAgent::Options options;
  options.session.device = DeviceId(identity.identity.id);
  options.session.policy.population = config.population();
  options.session.privacy = PrivacyPolicyOf(config);
  if (identity.identity.role == Role::kEvaluator) {
    options.session.policy.role = AssignmentPolicy::Role::kEvaluator;
  }
  options.session.software = StrCat("mledge-device ", GetBuildInfo().version,
                                    ", ", trainers->Description());
  options.session.maximum_check_in_interval =
      ToDuration(config.maximum_check_in_interval());
  if (secure != nullptr) SetSecurePolicy(config, &options);
  options.trusted.root_pem = identity.root_pem;
  options.trusted.operators.assign(config.trusted_operators().begin(),
                                   config.trusted_operators().end());
  options.trusted.model_signers.assign(config.trusted_model_signers().begin(),
                                       config.trusted_model_signers().end());
  MLEDGE_ASSIGN_OR_RETURN(
      const std::unique_ptr<DeviceAgent> agent,
      DeviceAgent::Create(std::move(options), {.connection = connection.get(),
                                               .storage = storage.get(),
                                               .trainers = trainers.get(),
                                               .examples = examples->get(),
                                               .secure = secure.get()}));
  LOG(INFO) << ToString(identity.identity.role) << " " << identity.identity.id
            << " with " << (*examples)->size() << " examples and "
            << trainers->Description() << "; coordinator "
            << config.coordinator() << "; certificate valid until "
            << absl::FormatTime(identity.not_after, absl::UTCTimeZone());
  if (config.threads() > 1) {
    LOG(WARNING) << "threads: " << config.threads()
                 << " is not used: training runs on one thread, so that equal "
                    "input gives equal bits";
  }
  absl::Status status;
  {
    const StopSignals signals(stop_signals, agent.get());
    status = agent->Run();
  }
  const DeviceSession::Counters counters = agent->counters();
  LOG(INFO) << "Stopped: " << counters.accepted << " assignments, "
            << counters.acknowledged << " updates acknowledged, "
            << counters.failed + counters.refused << " failed or refused, "
            << counters.lost << " lost in secure aggregation";
  return status;
}

}  // namespace
}  // namespace mledge

int main(int argc, char** argv) {
  return mledge::RunProgram(
      argc, argv,
      {.name = "mledge-device",
       .description = "ML Edge's device, or an evaluator, by its certificate: "
                      "takes part in rounds",
       .run = mledge::RunDevice});
}
