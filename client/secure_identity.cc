#include "mledge/client/secure_identity.h"

#include <utility>
#include <vector>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/certificate.h"

namespace mledge {

absl::StatusOr<std::unique_ptr<SecureIdentity>> SecureIdentity::Create(
    const TlsIdentity& identity, std::string_view witness_key,
    uint64_t least_list_number) {
  MLEDGE_ASSIGN_OR_RETURN(WitnessPublicKey registrar,
                          WitnessPublicKey::FromHex(witness_key));
  MLEDGE_ASSIGN_OR_RETURN(Certificate root,
                          Certificate::FromPem(identity.root_pem));
  MLEDGE_ASSIGN_OR_RETURN(std::vector<Certificate> chain,
                          ParsePemChain(identity.certificate_chain_pem));
  if (chain.size() < 2) {
    return absl::InvalidArgumentError(StrCat(
        "the certificate file of ", identity.identity.ToString(),
        " holds no certificate of the registrar that issued it; secure "
        "aggregation needs it: use the file as `mledge pki issue` wrote it"));
  }
  MLEDGE_ASSIGN_OR_RETURN(PrivateKey key,
                          PrivateKey::FromPem(identity.private_key_pem));
  // Others have the registrar's certificate already: only its own travels.
  MLEDGE_ASSIGN_OR_RETURN(
      std::unique_ptr<secagg::MemberSigner> signer,
      secagg::CertificateSigner::Create({&chain.front(), 1}, std::move(key)));
  MemberRegistry members(std::move(root), {chain.begin() + 1, chain.end()},
                         least_list_number);
  return std::unique_ptr<SecureIdentity>(new SecureIdentity(
      std::move(signer), std::move(members), std::move(registrar)));
}

SecureIdentity::SecureIdentity(std::unique_ptr<secagg::MemberSigner> signer,
                               MemberRegistry members,
                               WitnessPublicKey registrar)
    : signer_(std::move(signer)),
      members_(std::move(members)),
      registrar_(std::move(registrar)) {}

}  // namespace mledge
