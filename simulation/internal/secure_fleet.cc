#include "mledge/simulation/internal/secure_fleet.h"

#include <utility>
#include <vector>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::simulation_internal {
namespace {

// Virtual days may have any number of rounds.
constexpr int64_t kSessionsPerDay = int64_t{1} << 40;
// What security parameters are chosen with, as in the field by default.
constexpr int64_t kAssumedSessionsPerDay = 1000;

RegistrarCaller SimulatedCoordinator() {
  return {.identity = {Role::kCoordinator, kThrowawayId}, .serial = "0"};
}

}  // namespace

SecureFleet::SecureFleet(const v1::Task& task, const ThrowawaySigners& signers,
                         Certificate root, EventQueue* queue)
    : seed_(task.seed()),
      signers_(signers),
      clock_(queue),
      random_(seed_),
      members_(std::move(root), {signers.registrar.certificate()}),
      arithmetic_only_(task.simulation().secure_aggregation() ==
                       v1::Simulation::ARITHMETIC_ONLY),
      cryptography_(arithmetic_only_
                        ? std::unique_ptr<RepeatableCryptography>(
                              new ArithmeticOnly(seed_))
                        : std::make_unique<RepeatableCryptography>(seed_)) {}

absl::StatusOr<std::unique_ptr<SecureFleet>> SecureFleet::Create(
    const v1::Task& task, const ThrowawaySigners& signers, EventQueue* queue) {
  MLEDGE_ASSIGN_OR_RETURN(Certificate root,
                          Certificate::FromPem(signers.root_pem));
  std::unique_ptr<SecureFleet> fleet(
      new SecureFleet(task, signers, std::move(root), queue));
  MLEDGE_ASSIGN_OR_RETURN(
      fleet->registrar_,
      Registrar::Create({.operators = {kThrowawayId},
                         .coordinators = {kThrowawayId},
                         .sessions_per_day = kSessionsPerDay},
                        {.authority = signers.registrar,
                         .witness_key = WitnessKey::Generate(fleet->random_),
                         .storage = &fleet->storage_,
                         .random = &fleet->random_}));
  fleet->witness_ = std::make_unique<LocalWitness>(
      fleet->registrar_.get(), &fleet->clock_, SimulatedCoordinator());
  const v1::SecureAggregation& secure = task.secure_aggregation();
  secagg::ClientPolicy& policy = fleet->policy_;
  policy.session.corrupt_fraction = secure.corrupt_fraction();
  if (secure.threat_model() == v1::SecureAggregation::SEMI_HONEST) {
    policy.session.threat_model = secagg::ThreatModel::kSemiHonest;
  }
  policy.session.least_clients = secagg::kFewestClients;
  policy.session.least_alive = 2;
  policy.registrar_sessions_per_day = kAssumedSessionsPerDay;
  policy.sessions_per_day = kSessionsPerDay;
  return fleet;
}

SecureAggregationServices SecureFleet::services() {
  SecureAggregationServices services;
  services.witness = witness_.get();
  services.revocation_list = [this](auto done) {
    done(registrar_->CurrentRevocationList(clock_.TimeNow()));
  };
  services.root_pem = signers_.root_pem;
  services.issuers_pem = {signers_.registrar.certificate().ToPem()};
  services.registrar_sessions_per_day = kAssumedSessionsPerDay;
  services.time_now = [this] { return clock_.TimeNow(); };
  services.cryptography = cryptography();
  return services;
}

absl::StatusOr<const secagg::MemberSigner*> SecureFleet::SignerOf(
    const std::string& device) {
  std::unique_ptr<secagg::MemberSigner>& signer = device_signers_[device];
  if (signer == nullptr && arithmetic_only_) {
    signer = std::make_unique<secagg::UnauthenticatedSigner>(device);
  } else if (signer == nullptr) {
    constexpr absl::Duration kCentury = absl::Hours(24 * 36500);
    PrivateKey key = PrivateKey::Generate();
    MLEDGE_ASSIGN_OR_RETURN(
        const Certificate certificate,
        signers_.registrar.Issue(key.public_key(),
                                 {.identity = {Role::kDevice, device},
                                  .now = clock_.TimeNow(),
                                  .validity = kCentury}));
    MLEDGE_ASSIGN_OR_RETURN(
        signer, secagg::CertificateSigner::Create(
                    std::vector<Certificate>{certificate}, std::move(key)));
  }
  return signer.get();
}

std::unique_ptr<SecureFleet::Randomness> SecureFleet::RandomnessOf(
    const std::string& device, const v1::Assignment& assignment) const {
  // Evaluations do not move the ordinal, and there is one a round.
  if (assignment.kind() == v1::Assignment::EVALUATE) {
    const int64_t round = assignment.round();
    return std::unique_ptr<Randomness>(
        new Randomness{.keys = {seed_, device, round, "secure-evaluation"},
                       .rounding = {seed_, device, round, "sums-rounding"}});
  }
  const int64_t ordinal = assignment.ordinal();
  return std::unique_ptr<Randomness>(
      new Randomness{.keys = {seed_, device, ordinal, "secure-aggregation"},
                     .rounding = {seed_, device, ordinal, "rounding"}});
}

}  // namespace mledge::simulation_internal
