#ifndef MLEDGE_IDENTITY_PKI_DIRECTORY_H_
#define MLEDGE_IDENTITY_PKI_DIRECTORY_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/identity.h"

// The folder behind `mledge pki`:
//
//   root.crt  root.key            root.key is needed again only to replace the
//                                 registrar: keep it offline
//   registrar.crt  registrar.key  sign everything below
//   witness.key    witness.pub    with which the registrar witnesses; devices
//                                 and coordinators pin witness.pub
//   registrar.yaml                configuration of mledge-registrar
//   <role>-<id>/                  what one party gets, and nothing else:
//     certificate.pem             leaf, then registrar
//     private_key.pem             owner only; absent when issued from a CSR
//     root.pem                    what to trust
//
// No issued folder holds a key that can issue or witness. Nothing is ever
// overwritten, but a certificate is by its renewal.
// These functions are for one process at a time on a folder.

namespace mledge {

struct PkiOptions {
  std::string name = "mledge";  // id of the root and of the registrar
  absl::Time now;
  absl::Duration root_validity = absl::Hours(24 * 3650);
  absl::Duration registrar_validity = absl::Hours(24 * 1825);
  // Whom the registrar obeys, for its configuration.
  std::vector<std::string> operators = {"operator"};
  std::vector<std::string> coordinators = {"coordinator"};
};

// ALREADY_EXISTS when the folder holds a PKI, or a part of one.
absl::Status InitializePki(const std::string& directory,
                           const PkiOptions& options);

struct PkiIssueOptions {
  Identity identity;
  std::vector<std::string> hosts;  // coordinator; empty: localhost
  absl::Time now;
  absl::Duration validity = absl::ZeroDuration();  // zero: by role
  // Where to write; empty: <directory>/<role>-<id>.
  std::string output_directory;
  // PEM of a signing request; absent: a key is made here.
  std::optional<std::string> csr_pem;
};

struct IssuedIdentity {
  std::string directory;
  Certificate certificate;
};

// NOT_FOUND: no PKI in `directory`. ALREADY_EXISTS: the output folder holds a
// certificate, or a key while one is to be made. INVALID_ARGUMENT: see
// CertificateAuthority::Issue; the request is for another identity.
absl::StatusOr<IssuedIdentity> IssueIdentity(const std::string& directory,
                                             const PkiIssueOptions& options);

// On the device, where the key is to stay: makes a key and a signing request
// for it in `directory` (private_key.pem, request.csr), whose folder then takes
// what IssueIdentity makes of the request. ALREADY_EXISTS: one of them is
// there.
absl::Status RequestIdentity(const std::string& directory,
                             const Identity& identity);

// On the device: what came for the key in `directory` (from Enroll or a
// renewal), checked against it: certificate.pem, and root.pem where there is
// none. INVALID_ARGUMENT: not for this key. PERMISSION_DENIED: as VerifyChain;
// another root than the one that is there.
absl::Status StoreIdentity(const std::string& directory,
                           const std::string& certificate_chain_pem,
                           const std::string& root_pem, absl::Time now);

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_PKI_DIRECTORY_H_
