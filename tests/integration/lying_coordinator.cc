#include "mledge/tests/integration/lying_coordinator.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "absl/time/clock.h"
#include "mledge/core/file.h"
#include "mledge/core/strings.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/tls_identity.h"

namespace mledge {

LyingCoordinator::LyingCoordinator(Fleet& fleet, Lie lie)
    : lie_(std::move(lie)) {
  const v1::IdentityFiles files =
      IdentityFilesIn(fleet.IdentityOf(Role::kCoordinator, "c"));
  identity_ = LoadTlsIdentity(files, {}, clock_.TimeNow()).value();
  signer_ = std::make_unique<Signer>(Signer::Create(identity_).value());
  own_heads_ = std::make_unique<SignatureVerifier>(
      SignatureVerifier::Create(identity_.root_pem,
                                {.context = std::string(kLedgerHeadContext),
                                 .role = Role::kCoordinator,
                                 .trusted_ids = {identity_.identity.id}})
          .value());
  storage_ = SqliteStorage::Open(fleet.PathOf("coordinator")).value();
  Dependencies dependencies;
  dependencies.storage = storage_.get();
  dependencies.pool = &pool_;
  dependencies.sign_version = [this](const v1::VersionStatement& statement) {
    return signer_->Sign(kModelVersionContext, statement.SerializeAsString());
  };
  dependencies.wake_at = [this](absl::Time time) { timer_.WakeAt(time); };
  dependencies.privacy.sign_ledger_head = [this](const v1::LedgerHead& head) {
    return signer_->Sign(kLedgerHeadContext, head.SerializeAsString());
  };
  dependencies.privacy.verify_ledger_head =
      [this](const v1::SignedMessage& head, absl::Time now) {
        return own_heads_->Verify(head, now).status();
      };
  if (fleet.registrar() != nullptr) {
    dependencies.secure_aggregation = RegistrarServices(fleet);
  }
  honest_ = Coordinator::Create({}, std::move(dependencies), clock_.TimeNow())
                .value();
  server_ = CoordinatorServer::Start({.listen = "127.0.0.1:0",
                                      .identity = files,
                                      .trusted_operators = {"alice"},
                                      .trusted_model_signers = {"sam"}},
                                     {.coordinator = this, .clock = &clock_})
                .value();
  timer_.Start([this](absl::Time now) { honest_->Tick(now); });
  fleet.UseCoordinator(server_->address());
}

LyingCoordinator::~LyingCoordinator() {
  honest_->Shutdown(clock_.TimeNow());
  server_->Shutdown(absl::ZeroDuration());
  timer_.Stop();
}

SecureAggregationServices LyingCoordinator::RegistrarServices(Fleet& fleet) {
  registrar_ =
      RegistrarClient::Create(
          {.address = fleet.registrar_address()}, identity_,
          WitnessPublicKey::FromHex(
              ReadFile(fleet.PathOf("pki/witness.pub")).value().substr(0, 64))
              .value())
          .value();
  SecureAggregationServices services;
  services.witness = registrar_.get();
  services.revocation_list = [this](auto done) {
    registrar_->FetchRevocationList(std::move(done));
  };
  services.root_pem = identity_.root_pem;
  const auto chain = ParsePemChain(identity_.certificate_chain_pem).value();
  for (size_t i = 1; i < chain.size(); ++i) {
    services.issuers_pem.push_back(chain[i].ToPem());
  }
  services.time_now = [this] { return clock_.TimeNow(); };
  return services;
}

void LyingCoordinator::CheckIn(absl::Time now, const Peer& peer,
                               const v1::CheckInRequest& request,
                               absl::Time wait_until,
                               Done<v1::CheckInResponse> done) {
  honest_->CheckIn(now, peer, request, wait_until,
                   [this, device = peer.id, done = std::move(done)](
                       absl::StatusOr<v1::CheckInResponse> answer) {
                     if (answer.ok()) {
                       MutexLock lock(&mutex_);
                       lie_(*honest_, device, &*answer);
                     }
                     done(std::move(answer));
                   });
}

void LyingCoordinator::Report(absl::Time now, const Peer& peer,
                              const v1::ReportRequest& request,
                              Done<v1::ReportResponse> done) {
  {
    MutexLock lock(&mutex_);
    reports_.push_back({peer.id.value(), request.reason()});
  }
  honest_->Report(now, peer, request, std::move(done));
}

std::vector<LyingCoordinator::Reported> LyingCoordinator::reports() const {
  MutexLock lock(&mutex_);
  return reports_;
}

bool LyingCoordinator::WaitForReport(const std::string& device,
                                     const std::string& words) const {
  return WaitUntil([&] {
    const std::vector<Reported> all = reports();
    return std::any_of(all.begin(), all.end(), [&](const Reported& report) {
      return report.device == device &&
             report.reason.find(words) != std::string::npos;
    });
  });
}

}  // namespace mledge
