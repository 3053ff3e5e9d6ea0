// mledge-registrar CONFIG.yaml: who may be a device, and the witness against a
// coordinator that lies.

#include <signal.h>

#include <ctime>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "mledge/core/clock.h"
#include "mledge/core/file.h"
#include "mledge/core/logging.h"
#include "mledge/core/program/program_main.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/certificate_authority.h"
#include "mledge/identity/grpc/registrar_server.h"
#include "mledge/identity/private_key.h"
#include "mledge/identity/registrar/registrar.h"
#include "mledge/identity/registrar/server_certificate.h"
#include "mledge/identity/storage/sqlite_registrar_storage.h"
#include "mledge/identity/witness_key.h"
#include "mledge/task/config_file.h"

namespace mledge {
namespace {

// What a clean end waits for calls under way.
constexpr absl::Duration kGrace = absl::Seconds(5);
// How often the process looks whether its own certificate grows old, and how
// long that must still hold.
constexpr time_t kLookSeconds = 3600;
constexpr absl::Duration kRenewBefore = absl::Hours(24 * 30);

absl::StatusOr<Certificate> LoadCertificate(const std::string& path) {
  MLEDGE_ASSIGN_OR_RETURN(const std::string pem, ReadFile(path, 256 << 10));
  absl::StatusOr<Certificate> certificate = Certificate::FromPem(pem);
  if (!certificate.ok()) return Annotate(certificate.status(), path);
  return certificate;
}

absl::StatusOr<Certificate> LoadRoot(const std::string& path) {
  MLEDGE_ASSIGN_OR_RETURN(const std::string pem, ReadFile(path, 256 << 10));
  absl::StatusOr<Certificate> root = ParseRoot(pem);
  if (!root.ok()) return Annotate(root.status(), path);
  return root;
}

// The files that the configuration names, checked against each other, so that a
// mistake is told at start.
struct Keys {
  CertificateAuthority authority;
  WitnessKey witness_key;
  Certificate root;
};

absl::StatusOr<Keys> LoadKeys(const v1::RegistrarKeys& files, absl::Time now) {
  MLEDGE_ASSIGN_OR_RETURN(Certificate root, LoadRoot(files.root()));
  MLEDGE_ASSIGN_OR_RETURN(Certificate certificate,
                          LoadCertificate(files.certificate()));
  const absl::StatusOr<Identity> identity =
      VerifyRegistrar(certificate, root, now);
  if (!identity.ok()) return Annotate(identity.status(), files.certificate());
  MLEDGE_ASSIGN_OR_RETURN(PrivateKey key, LoadPrivateKey(files.private_key()));
  absl::StatusOr<CertificateAuthority> authority =
      CertificateAuthority::Create(std::move(certificate), std::move(key));
  if (!authority.ok()) {
    return Annotate(authority.status(), files.private_key());
  }
  MLEDGE_ASSIGN_OR_RETURN(WitnessKey witness_key,
                          WitnessKey::Load(files.witness_key()));
  return Keys{*std::move(authority), std::move(witness_key), std::move(root)};
}

Registrar::Options OptionsOf(const v1::RegistrarConfig& config) {
  Registrar::Options options;
  options.operators = {config.operators().begin(), config.operators().end()};
  options.coordinators = {config.coordinators().begin(),
                          config.coordinators().end()};
  options.certificate_validity =
      absl::Seconds(config.certificate_validity().seconds());
  options.revocation_list_validity =
      absl::Seconds(config.revocation_list_validity().seconds());
  options.sessions_per_day = config.sessions_per_day();
  return options;
}

absl::Status Serve(const v1::RegistrarConfig& config,
                   const sigset_t& stop_signals) {
  RealClock clock;
  SystemSecretRandom random;
  MLEDGE_ASSIGN_OR_RETURN(const Keys keys,
                          LoadKeys(config.keys(), clock.TimeNow()));
  MLEDGE_ASSIGN_OR_RETURN(
      const std::unique_ptr<SqliteRegistrarStorage> storage,
      SqliteRegistrarStorage::Open(config.state_directory()));
  const auto renew = [&] {
    return WriteServerCertificate(
        {.directory = StrCat(config.state_directory(), "/tls"),
         .hosts = {config.hosts().begin(), config.hosts().end()},
         .now = clock.TimeNow()},
        keys.authority, keys.root);
  };
  MLEDGE_ASSIGN_OR_RETURN(ServerCertificateFiles files, renew());
  MLEDGE_ASSIGN_OR_RETURN(
      const std::unique_ptr<Registrar> registrar,
      Registrar::Create(OptionsOf(config), {.authority = keys.authority,
                                            .witness_key = keys.witness_key,
                                            .storage = storage.get(),
                                            .random = &random}));
  MLEDGE_ASSIGN_OR_RETURN(
      const std::unique_ptr<RegistrarServer> server,
      RegistrarServer::Start({.listen = config.listen(),
                              .enroll_listen = config.enroll_listen(),
                              .certificate_file = files.certificate,
                              .private_key_file = files.private_key,
                              .root_file = files.root},
                             {.registrar = registrar.get(), .clock = &clock}));

  LOG(INFO) << "registrar " << keys.authority.certificate().subject()
            << ", witness key " << keys.witness_key.public_key().ToHex()
            << ", root SHA-256 " << keys.root.fingerprint().ToHex()
            << ", state in " << config.state_directory();
  if (!server->enroll_address().empty()) {
    LOG(INFO) << "devices with a token enroll at " << server->enroll_address();
  }
  // For scripts, which wait for this line.
  std::cout << "mledge-registrar: listening on " << server->address()
            << std::endl;

  while (true) {
    const timespec look = {kLookSeconds, 0};
    if (sigtimedwait(&stop_signals, nullptr, &look) > 0) break;
    if (files.not_after - clock.TimeNow() > kRenewBefore) continue;
    if (auto renewed = renew(); renewed.ok()) {
      files = *std::move(renewed);
      LOG(INFO) << "renewed this server's certificate, valid until "
                << absl::FormatTime(files.not_after);
    } else {
      LOG(ERROR) << "cannot renew this server's certificate, which is valid "
                 << "until " << absl::FormatTime(files.not_after) << ": "
                 << renewed.status();
    }
  }
  // The same signal once more ends the process at once.
  pthread_sigmask(SIG_UNBLOCK, &stop_signals, nullptr);
  LOG(INFO) << "stopping";
  server->Shutdown(kGrace);
  LOG(INFO) << "stopped";
  return absl::OkStatus();
}

absl::Status Start(const std::string& config_path,
                   const std::vector<std::string>& overrides,
                   const sigset_t& stop_signals) {
  MLEDGE_ASSIGN_OR_RETURN(const v1::RegistrarConfig config,
                          LoadRegistrarConfig(config_path, overrides));
  StartLogging(config.log(), "registrar");
  return Serve(config, stop_signals);
}

}  // namespace
}  // namespace mledge

int main(int argc, char** argv) {
  return mledge::RunProgram(
      argc, argv,
      {.name = "mledge-registrar",
       .description = "ML Edge's registrar: issues certificates, revokes them, "
                      "witnesses sessions and versions",
       .run = mledge::Start});
}
