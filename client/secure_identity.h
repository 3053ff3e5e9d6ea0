#ifndef MLEDGE_CLIENT_SECURE_IDENTITY_H_
#define MLEDGE_CLIENT_SECURE_IDENTITY_H_

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "mledge/aggregation/secagg/membership.h"
#include "mledge/client/member_registry.h"
#include "mledge/core/secret_random.h"
#include "mledge/identity/tls_identity.h"
#include "mledge/identity/witness_key.h"

// Who a device is in sessions of secure aggregation, and whom it believes
// there: its own certificate and key sign, the root and the registrar in its
// own chain say who else is a device, and the registrar's witness key, from its
// configuration, says which session is the only one of its number. Used by one
// thread at a time.

namespace mledge {

class SecureIdentity {
 public:
  // `witness_key`: 64 hexadecimal digits. `least_list_number`: of the newest
  // revocation list that was seen before. INVALID_ARGUMENT: not a device's
  // identity, or its chain lacks the registrar's certificate, or no such key.
  static absl::StatusOr<std::unique_ptr<SecureIdentity>> Create(
      const TlsIdentity& identity, std::string_view witness_key,
      uint64_t least_list_number);

  const secagg::MemberSigner* signer() const { return signer_.get(); }
  MemberRegistry* members() { return &members_; }
  SecretRandom* random() { return &random_; }
  const WitnessPublicKey& registrar() const { return registrar_; }

 private:
  SecureIdentity(std::unique_ptr<secagg::MemberSigner> signer,
                 MemberRegistry members, WitnessPublicKey registrar);

  const std::unique_ptr<secagg::MemberSigner> signer_;
  MemberRegistry members_;
  SystemSecretRandom random_;
  const WitnessPublicKey registrar_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_SECURE_IDENTITY_H_
