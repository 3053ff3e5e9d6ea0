#ifndef MLEDGE_CLIENT_GRPC_COORDINATOR_VERIFIER_H_
#define MLEDGE_CLIENT_GRPC_COORDINATOR_VERIFIER_H_

#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mledge/identity/certificate.h"

// Whether a peer is the coordinator that this device was told to talk to. A
// pure function.

namespace mledge {

// `chain_pem`: leaf first. UNAUTHENTICATED: the chain does not
// lead to `root` at `now`, the role is not coordinator, or the leaf does not
// carry `server_name`; says which, and what to do.
absl::Status CheckCoordinatorCertificate(std::string_view chain_pem,
                                         const Certificate& root,
                                         std::string_view server_name,
                                         absl::Time now);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_GRPC_COORDINATOR_VERIFIER_H_
