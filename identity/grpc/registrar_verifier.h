#ifndef MLEDGE_IDENTITY_GRPC_REGISTRAR_VERIFIER_H_
#define MLEDGE_IDENTITY_GRPC_REGISTRAR_VERIFIER_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mledge/core/sha256.h"
#include "mledge/identity/certificate.h"

// Whether a peer is the registrar that this process was told to talk to. A pure
// function.

namespace mledge {

// Whom to take for the registrar.
struct RegistrarExpectation {
  // Either the root that is trusted, or, for who has none yet, its fingerprint:
  // then the peer has to send the root at the end of its chain.
  std::optional<Certificate> root;
  std::optional<Digest> root_fingerprint;
  // Name or address that the peer's certificate must carry.
  std::string name;
};

// `chain_pem`: leaf first. UNAUTHENTICATED: the chain does not
// lead to the root at `now`, the role is not registrar-server, or the leaf is
// for another name; says which, and what to do.
absl::Status CheckRegistrarCertificate(std::string_view chain_pem,
                                       const RegistrarExpectation& expected,
                                       absl::Time now);

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_GRPC_REGISTRAR_VERIFIER_H_
