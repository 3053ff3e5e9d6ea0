#ifndef MLEDGE_IDENTITY_TLS_IDENTITY_H_
#define MLEDGE_IDENTITY_TLS_IDENTITY_H_

#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/core/secret_bytes.h"
#include "mledge/identity/identity.h"
#include "mledge/v1/config.pb.h"

// Who this process is: certificate, key and the root it trusts, read from the
// files that its configuration names and checked at start, so that a mistake is
// told then and not by a failed handshake. Movable value.

namespace mledge {

struct TlsIdentity {
  std::string certificate_chain_pem;  // leaf first, without the root
  SecretBytes private_key_pem;
  std::string root_pem;
  // What the leaf says.
  Identity identity;
  absl::Time not_after;
};

// The files that `mledge pki issue` writes into `directory`.
v1::IdentityFiles IdentityFilesIn(std::string_view directory);

// Paths are used as they stand. `allowed_roles` are those that make sense here
// (empty: any). Messages name the file and the remedy. NOT_FOUND;
// INVALID_ARGUMENT (a path is empty, not PEM, key does not belong to the
// certificate, more than one root); PERMISSION_DENIED (key readable by others;
// wrong role; the chain is expired, not yet valid, or leads to another root).
absl::StatusOr<TlsIdentity> LoadTlsIdentity(const v1::IdentityFiles& files,
                                            std::span<const Role> allowed_roles,
                                            absl::Time now);

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_TLS_IDENTITY_H_
