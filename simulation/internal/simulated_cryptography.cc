#include "mledge/simulation/internal/simulated_cryptography.h"

#include <array>
#include <utility>
#include <vector>

#include "mledge/core/strings.h"

namespace mledge::simulation_internal {
namespace {

// Keys that are random bytes, boxes without contents, no masks.
class NoSecrets final : public secagg::DeviceSecrets {
 public:
  NoSecrets(secagg::AgreementSuite suite, SecretRandom& random)
      : shown_{.mask_key = RandomKey(suite, random),
               .transport_key = RandomKey(suite, random),
               .self_mask_commitment = {}} {}

  const PublicPart& Shown() const override { return shown_; }

  absl::StatusOr<std::string> SealShares(
      const Digest&, uint32_t, int64_t,
      std::vector<secagg::NeighborKeys> neighbors, SecretRandom&) override {
    return std::string(neighbors.size() * secagg::kShareBoxSize, '\0');
  }

  absl::StatusOr<secagg::SharePair> OpenShares(size_t,
                                               std::string_view box) override {
    if (box.size() != secagg::kShareBoxSize) {
      return absl::InvalidArgumentError(
          StrCat("a simulated box of ", box.size(), " bytes"));
    }
    return secagg::SharePair();
  }

  absl::Status Mask(std::span<const size_t>,
                    std::vector<secagg::ModularVector>&) override {
    return absl::OkStatus();
  }

 private:
  // Leaves with equal keys would be refused.
  static std::string RandomKey(secagg::AgreementSuite suite,
                               SecretRandom& random) {
    std::array<uint8_t, 32> bytes;
    random.Fill(bytes);
    std::string key(1, static_cast<char>(suite));
    key.append(bytes.begin(), bytes.end());
    return key;
  }

  const PublicPart shown_;
};

}  // namespace

std::string RepeatableCryptography::DrawnFrom(
    const WitnessStatement& statement) const {
  return StrCat("simulated ", seed_, " ", statement.session_number);
}

absl::StatusOr<std::unique_ptr<secagg::DeviceSecrets>>
ArithmeticOnly::MakeSecrets(const secagg::Offer& offer,
                            SecretRandom& random) const {
  return std::make_unique<NoSecrets>(offer.agreement, random);
}

absl::Status ArithmeticOnly::Verify(const VersionLogHead&,
                                    const WitnessPublicKey&) const {
  return absl::OkStatus();
}

absl::Status ArithmeticOnly::Verify(const WitnessStatement&,
                                    const WitnessPublicKey&) const {
  return absl::OkStatus();
}

absl::Status ArithmeticOnly::Verify(const SetsStatement&,
                                    const WitnessPublicKey&) const {
  return absl::OkStatus();
}

secagg::MemberVerifier* ArithmeticOnly::VerifierFor(
    secagg::MemberVerifier*) const {
  return &members_;
}

absl::Status ArithmeticOnly::VerifyPath(const secagg::Directory&, uint32_t,
                                        const secagg::MerkleLeaf&,
                                        std::string_view) const {
  return absl::OkStatus();
}

}  // namespace mledge::simulation_internal
