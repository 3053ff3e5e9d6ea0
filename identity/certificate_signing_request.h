#ifndef MLEDGE_IDENTITY_CERTIFICATE_SIGNING_REQUEST_H_
#define MLEDGE_IDENTITY_CERTIFICATE_SIGNING_REQUEST_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "mledge/identity/identity.h"
#include "mledge/identity/private_key.h"
#include "mledge/identity/public_key.h"

// What leaves a device instead of its key: the public key and the wished-for
// identity, signed with the private key, which proves that the sender has it.
// (PKCS #10.)

namespace mledge {

struct CertificateSigningRequest {
  PublicKey public_key;
  // What the sender asks to be. Whoever issues decides, and must compare.
  Identity identity;
};

// PEM.
std::string CreateCertificateSigningRequest(const PrivateKey& key,
                                            const Identity& identity);

// INVALID_ARGUMENT: not one request, no identity in it, more than one, or a key
// that is not P-256. PERMISSION_DENIED: its signature does not fit its key.
absl::StatusOr<CertificateSigningRequest> ParseCertificateSigningRequest(
    std::string_view pem);

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_CERTIFICATE_SIGNING_REQUEST_H_
