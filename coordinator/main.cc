// mledge-coordinator CONFIG.yaml: the coordinator as a server.

#include <signal.h>
#include <unistd.h>

#include <array>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/coordinator/grpc/server.h"
#include "mledge/coordinator/grpc/wake_timer.h"
#include "mledge/coordinator/storage/sqlite_storage.h"
#include "mledge/core/clock.h"
#include "mledge/core/executor.h"
#include "mledge/core/logging.h"
#include "mledge/core/mutex.h"
#include "mledge/core/program/program_main.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/grpc/registrar_client.h"
#include "mledge/identity/signing.h"
#include "mledge/identity/tls_identity.h"
#include "mledge/task/config_file.h"

namespace mledge {
namespace {

// What a clean end waits for calls under way.
constexpr absl::Duration kGrace = absl::Seconds(5);

// Ends the wait for a signal when another coordinator takes this one's place.
class TakeOver {
 public:
  void Set(const absl::Status& why) {
    MutexLock lock(&mutex_);
    why_ = why;
    if (waiting_) kill(getpid(), SIGTERM);
  }
  // After the wait. OK: nobody has.
  absl::Status Stop() {
    MutexLock lock(&mutex_);
    waiting_ = false;
    return why_;
  }

 private:
  Mutex mutex_;
  absl::Status why_ ABSL_GUARDED_BY(mutex_);
  bool waiting_ ABSL_GUARDED_BY(mutex_) = true;
};

absl::StatusOr<std::unique_ptr<RegistrarClient>> ConnectToRegistrar(
    const v1::RegistrarAddress& address, const TlsIdentity& identity) {
  MLEDGE_ASSIGN_OR_RETURN(WitnessPublicKey key,
                          WitnessPublicKey::FromHex(address.witness_key()));
  return RegistrarClient::Create(
      {.address = address.address(), .name = address.name()}, identity,
      std::move(key));
}

absl::StatusOr<SecureAggregationServices> MakeServices(
    const v1::RegistrarAddress& address, const TlsIdentity& identity,
    RegistrarClient* registrar, Clock* clock) {
  SecureAggregationServices services;
  services.witness = registrar;
  services.revocation_list = [registrar](auto done) {
    registrar->FetchRevocationList(std::move(done));
  };
  services.root_pem = identity.root_pem;
  // Whoever issued this certificate issued the devices' too.
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<Certificate> chain,
                          ParsePemChain(identity.certificate_chain_pem));
  for (size_t i = 1; i < chain.size(); ++i) {
    services.issuers_pem.push_back(chain[i].ToPem());
  }
  services.registrar_sessions_per_day = address.sessions_per_day();
  services.time_now = [clock] { return clock->TimeNow(); };
  return services;
}

absl::Status Serve(const v1::CoordinatorConfig& config,
                   const sigset_t& stop_signals) {
  RealClock clock;
  constexpr std::array<Role, 1> kRoles = {Role::kCoordinator};
  MLEDGE_ASSIGN_OR_RETURN(
      const TlsIdentity identity,
      LoadTlsIdentity(config.identity(), kRoles, clock.TimeNow()));
  MLEDGE_ASSIGN_OR_RETURN(const Signer signer, Signer::Create(identity));
  MLEDGE_ASSIGN_OR_RETURN(
      const SignatureVerifier own_heads,
      SignatureVerifier::Create(identity.root_pem,
                                {.context = std::string(kLedgerHeadContext),
                                 .role = Role::kCoordinator,
                                 .trusted_ids = {identity.identity.id}}));
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteStorage> storage,
                          SqliteStorage::Open(config.state_directory()));

  ThreadPool pool(static_cast<int>(config.threads()), "pool");
  WakeTimer timer(&clock);
  TakeOver take_over;
  std::unique_ptr<RegistrarClient> registrar;
  SecureAggregationServices secure_aggregation;
  if (config.has_registrar()) {
    MLEDGE_ASSIGN_OR_RETURN(registrar,
                            ConnectToRegistrar(config.registrar(), identity));
    MLEDGE_ASSIGN_OR_RETURN(
        secure_aggregation,
        MakeServices(config.registrar(), identity, registrar.get(), &clock));
  }
  Coordinator::Options options;
  options.maximum_update_bytes = config.maximum_upload_bytes();
  MLEDGE_ASSIGN_OR_RETURN(
      const std::unique_ptr<Coordinator> coordinator,
      Coordinator::Create(
          options,
          {.storage = storage.get(),
           .pool = &pool,
           .sign_version =
               [&signer](const v1::VersionStatement& statement) {
                 return signer.Sign(kModelVersionContext,
                                    statement.SerializeAsString());
               },
           .wake_at = [&timer](absl::Time time) { timer.WakeAt(time); },
           .on_taken_over =
               [&take_over](const absl::Status& why) { take_over.Set(why); },
           .secure_aggregation = std::move(secure_aggregation),
           .privacy = {.sign_ledger_head =
                           [&signer](const v1::LedgerHead& head) {
                             return signer.Sign(kLedgerHeadContext,
                                                head.SerializeAsString());
                           },
                       .verify_ledger_head =
                           [&own_heads](const v1::SignedMessage& head,
                                        absl::Time now) {
                             return own_heads.Verify(head, now).status();
                           }}},
          clock.TimeNow()));
  MLEDGE_ASSIGN_OR_RETURN(
      const std::unique_ptr<CoordinatorServer> server,
      CoordinatorServer::Start(
          {.listen = config.listen(),
           .identity = config.identity(),
           .trusted_operators = {config.trusted_operators().begin(),
                                 config.trusted_operators().end()},
           .trusted_model_signers = {config.trusted_model_signers().begin(),
                                     config.trusted_model_signers().end()},
           .maximum_upload_bytes = config.maximum_upload_bytes()},
          {.coordinator = coordinator.get(), .clock = &clock}));
  timer.Start([&coordinator](absl::Time now) { coordinator->Tick(now); });

  LOG(INFO) << "coordinator " << identity.identity.id << ", certificate valid "
            << "until " << absl::FormatTime(identity.not_after) << ", state in "
            << config.state_directory();
  // For scripts, which wait for this line.
  std::cout << "mledge-coordinator: listening on " << server->address()
            << std::endl;

  int signal_number = 0;
  sigwait(&stop_signals, &signal_number);
  absl::Status taken_over = take_over.Stop();
  // The same signal once more ends the process at once.
  pthread_sigmask(SIG_UNBLOCK, &stop_signals, nullptr);
  if (taken_over.ok()) {
    LOG(INFO)
        << "stopping; tasks go on at the next start (again to stop at once)";
  }
  coordinator->Shutdown(clock.TimeNow());
  server->Shutdown(kGrace);
  timer.Stop();
  LOG(INFO) << "stopped";
  return taken_over;
}

absl::Status Start(const std::string& config_path,
                   const std::vector<std::string>& overrides,
                   const sigset_t& stop_signals) {
  MLEDGE_ASSIGN_OR_RETURN(const v1::CoordinatorConfig config,
                          LoadCoordinatorConfig(config_path, overrides));
  StartLogging(config.log(), "coordinator");
  return Serve(config, stop_signals);
}

}  // namespace
}  // namespace mledge

int main(int argc, char** argv) {
  return mledge::RunProgram(
      argc, argv,
      {.name = "mledge-coordinator",
       .description =
           "ML Edge's coordinator: runs rounds on a fleet of devices",
       .run = mledge::Start});
}
