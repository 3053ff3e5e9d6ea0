#ifndef MLEDGE_SIMULATION_INTERNAL_SIMULATED_CRYPTOGRAPHY_H_
#define MLEDGE_SIMULATION_INTERNAL_SIMULATED_CRYPTOGRAPHY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "mledge/aggregation/secagg/session_cryptography.h"
#include "mledge/aggregation/secagg/unauthenticated.h"

// What simulated sessions of secure aggregation use in place of what the field
// uses. Neither protects anybody: like deterministic_secret_random.h, nothing
// that ships to devices or runs the coordinator may link it
// (tests/structure/linked_symbols_test.py looks).

namespace mledge::simulation_internal {

// The protocol's own cryptography. Only groups and graphs, which in the field
// follow from signatures and thereby from keys, follow from the seed: two runs
// have the same neighbours and lose the same devices.
class RepeatableCryptography : public secagg::SessionCryptography {
 public:
  explicit RepeatableCryptography(uint64_t seed) : seed_(seed) {}
  std::string DrawnFrom(const WitnessStatement& statement) const override;

 private:
  const uint64_t seed_;
};

// None: nothing is signed, verified, sealed or masked. Messages hold stand-ins
// of the same sizes, so that both ends say the same at the same virtual times,
// lose the same devices and come to the same sums.
class ArithmeticOnly final : public RepeatableCryptography {
 public:
  using RepeatableCryptography::RepeatableCryptography;

  absl::StatusOr<std::unique_ptr<secagg::DeviceSecrets>> MakeSecrets(
      const secagg::Offer& offer, SecretRandom& random) const override;
  absl::Status Verify(const VersionLogHead&,
                      const WitnessPublicKey&) const override;
  absl::Status Verify(const WitnessStatement&,
                      const WitnessPublicKey&) const override;
  absl::Status Verify(const SetsStatement&,
                      const WitnessPublicKey&) const override;
  secagg::MemberVerifier* VerifierFor(secagg::MemberVerifier*) const override;
  absl::Status VerifyPath(const secagg::Directory&, uint32_t,
                          const secagg::MerkleLeaf&,
                          std::string_view) const override;
  bool masks() const override { return false; }

 private:
  mutable secagg::UnauthenticatedMembers members_;  // has no state
};

}  // namespace mledge::simulation_internal

#endif  // MLEDGE_SIMULATION_INTERNAL_SIMULATED_CRYPTOGRAPHY_H_
