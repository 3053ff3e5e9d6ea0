// Runs what touches secrets while valgrind believes the secrets to be
// uninitialized: a branch or an address that depends on one is then an error.
// Started by constant_time_test.cc; run by hand it proves nothing.
//
//   constant_time_subject          all of it
//   constant_time_subject --leak   a branch on a secret, to see it found

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string_view>
#include <vector>

#include "mledge/aggregation/secagg/field128.h"
#include "mledge/aggregation/secagg/key_agreement.h"
#include "mledge/aggregation/secagg/mask.h"
#include "mledge/aggregation/secagg/mask_seed.h"
#include "mledge/aggregation/secagg/shamir.h"
#include "mledge/aggregation/secagg/share_box.h"
#include "mledge/core/secret_random.h"

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define MLEDGE_HAVE_MEMCHECK 1
#else
#define MLEDGE_HAVE_MEMCHECK 0
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_MAKE_MEM_UNDEFINED(address, size)
#define VALGRIND_MAKE_MEM_DEFINED(address, size)
#endif

namespace mledge::secagg {
namespace {

constexpr int kNoValgrind = 77;

// Gives secrets, as valgrind sees it.
class UndefinedRandom final : public SecretRandom {
 public:
  void Fill(std::span<uint8_t> out) override {
    for (uint8_t& byte : out) byte = next_ = next_ * 5 + 17;
    VALGRIND_MAKE_MEM_UNDEFINED(out.data(), out.size());
  }

 private:
  uint8_t next_ = 1;
};

// What leaves the device is no secret any more.
template <typename Bytes>
void Publish(const Bytes& bytes) {
  VALGRIND_MAKE_MEM_DEFINED(bytes.data(), bytes.size());
}

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
  Publish(commitment.bytes);
  return true;
}

bool AgreeSealAndMask(CipherSuite suite, UndefinedRandom& random) {
  auto own = AgreementKeyPair::FromSeed(
      AgreementSuite::kX25519, MaskSeed::Generate(random), KeyRole::kMask);
  const auto peer = AgreementKeyPair::FromSeed(
      AgreementSuite::kX25519, MaskSeed::Generate(random), KeyRole::kMask);
  if (!own.ok() || !peer.ok()) return false;
  Publish(own->public_key().encoded());
  Publish(peer->public_key().encoded());
  const auto secret = own->Agree(peer->public_key());
  if (!secret.ok()) return false;
  const PairContext context{Sha256Of("session"), 1, 2};
  const ShareBoxKeys keys = secret->DeriveShareBoxKeys(context);
  SharePair shares;
  random.Fill(shares.mask_key.mutable_bytes(RevealSecret()));
  random.Fill(shares.self_mask.mutable_bytes(RevealSecret()));
  const ShareBoxAddress address{context.session, 1, 2};
  const std::string box = SealShares(suite, keys.seal, address, shares, random);
  Publish(box);
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
    Publish(packed);
  }
  return true;
}

int Run(bool leak) {
  if (!MLEDGE_HAVE_MEMCHECK || !RUNNING_ON_VALGRIND) return kNoValgrind;
  UndefinedRandom random;
  if (leak) {
    const MaskSeed seed = MaskSeed::Generate(random);
    if (seed.bytes(RevealSecret())[3] == 7) std::puts("leaked");
    return 0;
  }
  MultiplyInTheField(random);
  if (!ShareAndReconstruct(random)) return 1;
  for (const CipherSuite suite :
       {CipherSuite::kAes128Ctr, CipherSuite::kChaCha20}) {
    if (!AgreeSealAndMask(suite, random)) return 1;
  }
  return 0;
}

}  // namespace
}  // namespace mledge::secagg

int main(int argc, char** argv) {
  return mledge::secagg::Run(argc > 1 && std::string_view(argv[1]) == "--leak");
}
