#include "mledge/aggregation/secagg/session_cryptography.h"

#include <utility>

#include "mledge/aggregation/secagg/mask.h"
#include "mledge/aggregation/secagg/mask_seed.h"
#include "mledge/aggregation/secagg/shamir.h"
#include "mledge/core/status_macros.h"

namespace mledge::secagg {
namespace {

class RealSecrets final : public DeviceSecrets {
 public:
  static absl::StatusOr<std::unique_ptr<DeviceSecrets>> Make(
      const Offer& offer, SecretRandom& random) {
    MaskSeed mask_key_seed = MaskSeed::Generate(random);
    // Of its own randomness: what recovers the mask key says nothing about it.
    const MaskSeed transport_key_seed = MaskSeed::Generate(random);
    MLEDGE_ASSIGN_OR_RETURN(
        AgreementKeyPair mask_key,
        AgreementKeyPair::FromSeed(offer.agreement, mask_key_seed,
                                   KeyRole::kMask));
    MLEDGE_ASSIGN_OR_RETURN(
        AgreementKeyPair transport_key,
        AgreementKeyPair::FromSeed(offer.agreement, transport_key_seed,
                                   KeyRole::kTransport));
    return std::unique_ptr<DeviceSecrets>(new RealSecrets(
        offer.cipher, std::move(mask_key_seed), MaskSeed::Generate(random),
        std::move(mask_key), std::move(transport_key)));
  }

  const PublicPart& Shown() const override { return shown_; }

  absl::StatusOr<std::string> SealShares(const Digest& session, uint32_t member,
                                         int64_t threshold,
                                         std::vector<NeighborKeys> neighbors,
                                         SecretRandom& random) override {
    session_ = session;
    member_ = member;
    neighbors_ = std::move(neighbors);
    std::vector<ShareIndex> holders;
    for (const NeighborKeys& neighbor : neighbors_) {
      holders.push_back(ShareIndex::OfMember(neighbor.member));
    }
    MLEDGE_ASSIGN_OR_RETURN(
        std::vector<ShareValue> mask_key_shares,
        ShareSeed(mask_key_seed_, threshold, holders, random));
    MLEDGE_ASSIGN_OR_RETURN(
        std::vector<ShareValue> self_mask_shares,
        ShareSeed(self_mask_seed_, threshold, holders, random));
    std::string boxes;
    box_keys_.clear();
    for (size_t i = 0; i < neighbors_.size(); ++i) {
      MLEDGE_ASSIGN_OR_RETURN(
          const SharedSecret secret,
          transport_key_.Agree(neighbors_[i].transport_key));
      box_keys_.push_back(secret.DeriveShareBoxKeys(PairWith(i)));
      boxes += secagg::SealShares(
          cipher_, box_keys_[i].seal,
          {.session = session_, .from = member_, .to = neighbors_[i].member},
          {.mask_key = std::move(mask_key_shares[i]),
           .self_mask = std::move(self_mask_shares[i])},
          random);
    }
    return boxes;
  }

  absl::StatusOr<SharePair> OpenShares(size_t neighbor,
                                       std::string_view box) override {
    return secagg::OpenShares(cipher_, box_keys_[neighbor].open,
                              {.session = session_,
                               .from = neighbors_[neighbor].member,
                               .to = member_},
                              box);
  }

  absl::Status Mask(std::span<const size_t> neighbors,
                    std::vector<ModularVector>& sections) override {
    std::vector<MaskSeed> seeds;
    std::vector<MaskSign> signs;
    for (const size_t i : neighbors) {
      MLEDGE_ASSIGN_OR_RETURN(const SharedSecret secret,
                              mask_key_.Agree(neighbors_[i].mask_key));
      seeds.push_back(secret.DeriveMaskSeed(PairWith(i)));
      signs.push_back(SignInPair(member_, neighbors_[i].member));
    }
    for (uint32_t i = 0; i < sections.size(); ++i) {
      std::vector<SignedMask> masks;
      masks.reserve(seeds.size() + 1);
      masks.push_back({MaskKey(cipher_, self_mask_seed_,
                               {.purpose = MaskPurpose::kSelf, .section = i}),
                       MaskSign::kAdd});
      for (size_t seed = 0; seed < seeds.size(); ++seed) {
        masks.push_back({MaskKey(cipher_, seeds[seed],
                                 {.purpose = MaskPurpose::kPair, .section = i}),
                         signs[seed]});
      }
      ApplyMasks(masks, &sections[i], /*pool=*/nullptr);
    }
    return absl::OkStatus();
  }

 private:
  RealSecrets(CipherSuite cipher, MaskSeed mask_key_seed,
              MaskSeed self_mask_seed, AgreementKeyPair mask_key,
              AgreementKeyPair transport_key)
      : cipher_(cipher),
        mask_key_seed_(std::move(mask_key_seed)),
        self_mask_seed_(std::move(self_mask_seed)),
        mask_key_(std::move(mask_key)),
        transport_key_(std::move(transport_key)),
        shown_{.mask_key = mask_key_.public_key().encoded(),
               .transport_key = transport_key_.public_key().encoded(),
               .self_mask_commitment = CommitTo(self_mask_seed_)} {}

  PairContext PairWith(size_t neighbor) const {
    return {.session = session_,
            .own_index = member_,
            .peer_index = neighbors_[neighbor].member};
  }

  const CipherSuite cipher_;
  const MaskSeed mask_key_seed_;
  const MaskSeed self_mask_seed_;
  AgreementKeyPair mask_key_;
  AgreementKeyPair transport_key_;
  const PublicPart shown_;
  Digest session_;
  uint32_t member_ = 0;
  std::vector<NeighborKeys> neighbors_;
  std::vector<ShareBoxKeys> box_keys_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceSecrets>> SessionCryptography::MakeSecrets(
    const Offer& offer, SecretRandom& random) const {
  return RealSecrets::Make(offer, random);
}

absl::Status SessionCryptography::Verify(
    const VersionLogHead& head, const WitnessPublicKey& registrar) const {
  return head.Verify(registrar);
}

absl::Status SessionCryptography::Verify(
    const WitnessStatement& statement,
    const WitnessPublicKey& registrar) const {
  return statement.Verify(registrar);
}

absl::Status SessionCryptography::Verify(
    const SetsStatement& statement, const WitnessPublicKey& registrar) const {
  return statement.Verify(registrar);
}

absl::Status SessionCryptography::VerifyPath(
    const Directory& directory, uint32_t index, const MerkleLeaf& leaf,
    std::string_view path_bytes) const {
  MLEDGE_ASSIGN_OR_RETURN(const MerklePath path, ParsePath(path_bytes));
  return VerifyInclusion(directory.merkle_root, directory.devices,
                         directory.versions, index, leaf, path);
}

std::string SessionCryptography::DrawnFrom(
    const WitnessStatement& statement) const {
  return statement.signature;
}

const SessionCryptography& SessionCryptography::Default() {
  static const SessionCryptography* const cryptography =
      new SessionCryptography();
  return *cryptography;
}

}  // namespace mledge::secagg
