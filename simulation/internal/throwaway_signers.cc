#include "mledge/simulation/internal/throwaway_signers.h"

#include <utility>
#include <vector>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::simulation_internal {
namespace {

constexpr absl::Duration kCentury = absl::Hours(24 * 36500);

absl::StatusOr<Signer> MakeSigner(const CertificateAuthority& registrar,
                                  const std::string& root_pem, Role role,
                                  absl::Time now) {
  const PrivateKey key = PrivateKey::Generate();
  const Identity identity{role, kThrowawayId};
  std::vector<std::string> hosts;
  if (role == Role::kCoordinator) hosts = {"localhost"};
  MLEDGE_ASSIGN_OR_RETURN(
      const Certificate certificate,
      registrar.Issue(key.public_key(), {.identity = identity,
                                         .hosts = std::move(hosts),
                                         .now = now,
                                         .validity = kCentury}));
  return Signer::Create(
      {.certificate_chain_pem =
           StrCat(certificate.ToPem(), registrar.certificate().ToPem()),
       .private_key_pem = key.ToPem(),
       .root_pem = root_pem,
       .identity = identity,
       .not_after = certificate.not_after()});
}

}  // namespace

absl::StatusOr<ThrowawaySigners> MakeThrowawaySigners(absl::Time now) {
  MLEDGE_ASSIGN_OR_RETURN(
      const CertificateAuthority root,
      CertificateAuthority::CreateRoot(kThrowawayId, now, kCentury));
  const PrivateKey key = PrivateKey::Generate();
  MLEDGE_ASSIGN_OR_RETURN(
      Certificate certificate,
      root.Issue(key.public_key(),
                 {.identity = {Role::kRegistrar, kThrowawayId},
                  .now = now,
                  .validity = kCentury}));
  MLEDGE_ASSIGN_OR_RETURN(
      const CertificateAuthority registrar,
      CertificateAuthority::Create(std::move(certificate), key));
  const std::string root_pem = root.certificate().ToPem();
  MLEDGE_ASSIGN_OR_RETURN(
      Signer operator_signer,
      MakeSigner(registrar, root_pem, Role::kOperator, now));
  MLEDGE_ASSIGN_OR_RETURN(
      Signer model_signer,
      MakeSigner(registrar, root_pem, Role::kModelSigner, now));
  MLEDGE_ASSIGN_OR_RETURN(
      Signer coordinator_signer,
      MakeSigner(registrar, root_pem, Role::kCoordinator, now));
  return ThrowawaySigners{root_pem, std::move(operator_signer),
                          std::move(model_signer),
                          std::move(coordinator_signer), registrar};
}

}  // namespace mledge::simulation_internal
