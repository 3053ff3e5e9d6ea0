#ifndef MLEDGE_IDENTITY_REGISTRAR_SERVER_CERTIFICATE_H_
#define MLEDGE_IDENTITY_REGISTRAR_SERVER_CERTIFICATE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/certificate_authority.h"

// The registrar's own end of TLS connections. The certificate with which it
// issues stands at the end of none, so it makes itself another, of the role
// registrar-server, with a key of its own that never leaves the state
// directory. For one process at a time.

namespace mledge {

struct ServerCertificateOptions {
  std::string directory;  // made where missing
  std::vector<std::string> hosts;
  absl::Time now;
};

struct ServerCertificateFiles {
  std::string certificate;  // leaf, registrar, root
  std::string private_key;
  std::string root;
  absl::Time not_after;
};

// Writes a fresh certificate into server.pem, beside server.key and root.pem.
// The key stays the same, so that whoever reads the files in between sees a
// pair. INVALID_ARGUMENT: a host that is none.
absl::StatusOr<ServerCertificateFiles> WriteServerCertificate(
    const ServerCertificateOptions& options,
    const CertificateAuthority& registrar, const Certificate& root);

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_REGISTRAR_SERVER_CERTIFICATE_H_
