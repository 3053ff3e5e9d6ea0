#ifndef MLEDGE_SIMULATION_INTERNAL_THROWAWAY_SIGNERS_H_
#define MLEDGE_SIMULATION_INTERNAL_THROWAWAY_SIGNERS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/identity/certificate_authority.h"
#include "mledge/identity/signing.h"

// A PKI for one simulation, so that simulated devices check signatures as real
// ones do. Its keys never leave the process and die with it. Values.

namespace mledge::simulation_internal {

struct ThrowawaySigners {
  std::string root_pem;
  Signer operator_signer;
  Signer model_signer;
  Signer coordinator_signer;
  CertificateAuthority registrar;
};

// The id of each signer.
inline constexpr char kThrowawayId[] = "simulation";

// Certificates hold for a century from `now` on.
absl::StatusOr<ThrowawaySigners> MakeThrowawaySigners(absl::Time now);

}  // namespace mledge::simulation_internal

#endif  // MLEDGE_SIMULATION_INTERNAL_THROWAWAY_SIGNERS_H_
