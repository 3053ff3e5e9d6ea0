// What constant_time_test.cc runs for everything here that touches secrets.
//
//   aggregation_secagg_constant_time_subject          all of it
//   aggregation_secagg_constant_time_subject --leak   a branch on a secret, to
//                                                     see it found

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <span>
#include <vector>

#include "mledge/aggregation/secagg/field128.h"
#include "mledge/aggregation/secagg/key_agreement.h"
#include "mledge/aggregation/secagg/mask.h"
#include "mledge/aggregation/secagg/mask_seed.h"
#include "mledge/aggregation/secagg/shamir.h"
#include "mledge/aggregation/secagg/share_box.h"
#include "mledge/tests/support/undefined_random.h"

namespace mledge::secagg {
namespace {

void MultiplyInTheField(UndefinedRandom& random) {
  std::array<uint8_t, 32> bytes;
  random.Fill(bytes);
  const Field128 a = Field128::FromBytes(std::span(bytes).first<16>());
  const Field128 b = Field128::FromBytes(std::span(bytes).last<16>());
  Field128 sum = Multiply(a, b) ^ field128_internal::MultiplyPortable(a, b);
  sum ^= MultiplyBySmall(a, 12345);
  sum ^= field128_internal::MultiplyBySmallPortable(b, 12345);
  sum ^= Invert(sum);
  std::array<Field128, 3> values = {a, b, sum};
  const std::array<uint32_t, 3> points = {1, 2, 70000};
  MultiplyBySmallAndAdd(values, points, sum);
  field128_internal::MultiplyBySmallAndAddPortable(values, points, sum);
}

bool ShareAndReconstruct(UndefinedRandom& random) {
  const MaskSeed seed = MaskSeed::Generate(random);
  std::vector<ShareIndex> holders;
  for (uint32_t i = 0; i < 9; ++i) holders.push_back(ShareIndex::OfMember(i));
  const auto shares = ShareSeed(seed, 5, holders, random);
  if (!shares.ok()) return false;
  std::vector<const ShareValue*> values;
  for (const ShareValue& share : *shares) values.push_back(&share);
  const auto weights = LagrangeWeights::Create(holders);
  if (!weights.ok() || !weights->Reconstruct(values).ok()) return false;
  const Digest commitment = CommitTo(seed);
  MakePublic(commitment.bytes);
  return true;
}

bool AgreeSealAndMask(CipherSuite suite, UndefinedRandom& random) {
  auto own = AgreementKeyPair::FromSeed(
      AgreementSuite::kX25519, MaskSeed::Generate(random), KeyRole::kMask);
  const auto peer = AgreementKeyPair::FromSeed(
      AgreementSuite::kX25519, MaskSeed::Generate(random), KeyRole::kMask);
  if (!own.ok() || !peer.ok()) return false;
  MakePublic(own->public_key().encoded());
  MakePublic(peer->public_key().encoded());
  const auto secret = own->Agree(peer->public_key());
  if (!secret.ok()) return false;
  const PairContext context{Sha256Of("session"), 1, 2};
  const ShareBoxKeys keys = secret->DeriveShareBoxKeys(context);
  SharePair shares;
  random.Fill(shares.mask_key.mutable_bytes(RevealSecret()));
  random.Fill(shares.self_mask.mutable_bytes(RevealSecret()));
  const ShareBoxAddress address{context.session, 1, 2};
  const std::string box = SealShares(suite, keys.seal, address, shares, random);
  MakePublic(box);
  if (!OpenShares(suite, keys.seal, address, box).ok()) return false;
  std::vector<SignedMask> masks;
  masks.push_back(
      {MaskKey(suite, secret->DeriveMaskSeed(context), {}), MaskSign::kAdd});
  masks.push_back(
      {MaskKey(suite, MaskSeed::Generate(random), {}), MaskSign::kSubtract});
  for (const int bits : {12, 20, 32}) {
    auto vector = ModularVector::Create(*Modulus::Create(bits), 1003);
    if (!vector.ok()) return false;
    ApplyMasks(masks, &*vector, nullptr);
    const std::string packed = vector->Pack();
    MakePublic(packed);
  }
  return true;
}

bool RunAll(UndefinedRandom& random) {
  MultiplyInTheField(random);
  if (!ShareAndReconstruct(random)) return false;
  for (const CipherSuite suite :
       {CipherSuite::kAes128Ctr, CipherSuite::kChaCha20}) {
    if (!AgreeSealAndMask(suite, random)) return false;
  }
  return true;
}

void Leak(UndefinedRandom& random) {
  const MaskSeed seed = MaskSeed::Generate(random);
  if (seed.bytes(RevealSecret())[3] == 7) std::puts("leaked");
}

}  // namespace
}  // namespace mledge::secagg

int main(int argc, char** argv) {
  return mledge::RunConstantTimeSubject(argc, argv, mledge::secagg::RunAll,
                                        mledge::secagg::Leak);
}
