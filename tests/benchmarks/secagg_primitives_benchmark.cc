// The pieces of secure aggregation, each alone, on one core: masks, packing,
// unpack-and-add, Shamir, key agreement, quantizer, rotation. Beside masks and
// key agreements stands what bare EVP calls make of the same run: the floor.
//
//   secagg_primitives_benchmark [--coordinates N]

#include <openssl/evp.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string_view>
#include <vector>

#include "mledge/aggregation/secagg/hadamard.h"
#include "mledge/aggregation/secagg/key_agreement.h"
#include "mledge/aggregation/secagg/mask.h"
#include "mledge/aggregation/secagg/modular.h"
#include "mledge/aggregation/secagg/quantizer.h"
#include "mledge/aggregation/secagg/shamir.h"
#include "mledge/core/secret_random.h"

namespace mledge::secagg {
namespace {

constexpr int kRepetitions = 15;
constexpr int kMasks = 40;
constexpr int kAgreements = 200;

// Processor time, so that what other processes take does not count; the best of
// the repetitions.
double Seconds(const std::function<void()>& work) {
  double best = 1e9;
  for (int i = 0; i < kRepetitions; ++i) {
    timespec start{};
    timespec end{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    work();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    best = std::min(best, static_cast<double>(end.tv_sec - start.tv_sec) +
                              1e-9 * (end.tv_nsec - start.tv_nsec));
  }
  return best;
}

// AES-128-CTR of zeros in blocks of 16 KiB, and nothing else.
double BareKeystreamSeconds(int64_t bytes) {
  constexpr int kBlock = 16 << 10;
  std::vector<uint8_t> zeros(kBlock);
  std::vector<uint8_t> out(kBlock);
  const std::vector<uint8_t> key(32, 7);
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  const double seconds = Seconds([&] {
    EVP_EncryptInit_ex2(context, EVP_aes_128_ctr(), key.data(), key.data() + 16,
                        nullptr);
    for (int64_t done = 0; done < bytes; done += kBlock) {
      int written = 0;
      EVP_EncryptUpdate(
          context, out.data(), &written, zeros.data(),
          static_cast<int>(std::min<int64_t>(kBlock, bytes - done)));
    }
  });
  EVP_CIPHER_CTX_free(context);
  return seconds;
}

// One X25519 with the import of the peer's key.
double BareAgreementSeconds() {
  const std::vector<uint8_t> own_bytes(32, 7);
  EVP_PKEY* own = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr,
                                               own_bytes.data(), 32);
  std::vector<uint8_t> peer_bytes(32);
  size_t size = 32;
  EVP_PKEY_get_raw_public_key(own, peer_bytes.data(), &size);
  const double seconds = Seconds([&] {
    for (int i = 0; i < kAgreements; ++i) {
      EVP_PKEY* peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr,
                                                   peer_bytes.data(), 32);
      EVP_PKEY_CTX* context = EVP_PKEY_CTX_new(own, nullptr);
      std::vector<uint8_t> secret(32);
      size_t secret_size = 32;
      EVP_PKEY_derive_init(context);
      EVP_PKEY_derive_set_peer(context, peer);
      EVP_PKEY_derive(context, secret.data(), &secret_size);
      EVP_PKEY_CTX_free(context);
      EVP_PKEY_free(peer);
    }
  });
  EVP_PKEY_free(own);
  return seconds / kAgreements;
}

void BenchmarkVectors(int bits, int64_t coordinates) {
  const Modulus modulus = *Modulus::Create(bits);
  ModularVector vector = *ModularVector::Create(modulus, coordinates);
  SystemSecretRandom random;
  const double floor =
      BareKeystreamSeconds(kMasks * KeystreamSize(modulus, coordinates));
  for (const MaskSign sign : {MaskSign::kAdd, MaskSign::kSubtract}) {
    std::vector<SignedMask> masks;
    for (int i = 0; i < kMasks; ++i) {
      masks.push_back({MaskKey(CipherSuite::kAes128Ctr,
                               MaskSeed::Generate(random), MaskStream{}),
                       sign});
    }
    const double seconds =
        Seconds([&] { ApplyMasks(masks, &vector, nullptr); });
    std::printf("%2d bits  %-15s %8.0f M/s   floor %6.0f M/s   ratio %.3f\n",
                bits, sign == MaskSign::kAdd ? "add masks" : "subtract masks",
                1e-6 * kMasks * coordinates / seconds,
                1e-6 * kMasks * coordinates / floor, seconds / floor);
  }
  std::string packed = vector.Pack();
  const std::span<uint8_t> bytes(reinterpret_cast<uint8_t*>(packed.data()),
                                 packed.size());
  const double packing =
      Seconds([&] { vector.PackRange(0, coordinates, bytes).IgnoreError(); });
  std::printf("%2d bits  %-15s %8.0f M/s\n", bits, "pack",
              1e-6 * coordinates / packing);
  const double unpacking = Seconds(
      [&] { vector.UnpackAndAdd(0, coordinates, bytes).IgnoreError(); });
  std::printf("%2d bits  %-15s %8.0f M/s\n", bits, "unpack and add",
              1e-6 * coordinates / unpacking);
}

void BenchmarkShamir(uint32_t count, int64_t threshold) {
  SystemSecretRandom random;
  const MaskSeed seed = MaskSeed::Generate(random);
  std::vector<ShareIndex> holders;
  for (uint32_t i = 0; i < count; ++i) {
    holders.push_back(ShareIndex::OfMember(i));
  }
  std::vector<ShareValue> shares;
  const double sharing =
      Seconds([&] { shares = *ShareSeed(seed, threshold, holders, random); });
  const std::vector<ShareIndex> survivors(holders.begin(),
                                          holders.begin() + threshold);
  std::vector<const ShareValue*> values;
  for (int64_t i = 0; i < threshold; ++i) values.push_back(&shares[i]);
  LagrangeWeights weights = *LagrangeWeights::Create(survivors);
  const double weighing = Seconds(
      [&] { LagrangeWeights::Create(survivors).status().IgnoreError(); });
  const double reconstructing =
      Seconds([&] { weights.Reconstruct(values).status().IgnoreError(); });
  std::printf("Shamir %3ld of %3u: share %7.1f us", threshold, count,
              1e6 * sharing);
  std::printf("   weights %7.1f us   reconstruct %5.2f us", 1e6 * weighing,
              1e6 * reconstructing);
  if (threshold < count) {
    const PointInverses inverses(count);
    ShareIndex removed = holders[0], added = holders.back();
    const double replacing = Seconds([&] {
      weights.Replace(removed, added, inverses).IgnoreError();
      std::swap(removed, added);
    });
    std::printf("   replace one %5.1f us", 1e6 * replacing);
  }
  std::printf("\n");
}

void BenchmarkAgreement() {
  SystemSecretRandom random;
  const double pair_seconds = Seconds([&] {
    AgreementKeyPair::FromSeed(AgreementSuite::kX25519,
                               MaskSeed::Generate(random), KeyRole::kMask)
        .status()
        .IgnoreError();
  });
  auto own = *AgreementKeyPair::FromSeed(
      AgreementSuite::kX25519, MaskSeed::Generate(random), KeyRole::kMask);
  const auto peer = *AgreementKeyPair::FromSeed(
      AgreementSuite::kX25519, MaskSeed::Generate(random), KeyRole::kMask);
  const std::string encoded = peer.public_key().encoded();
  const PairContext context{Sha256Of("session"), 1, 2};
  const double floor = BareAgreementSeconds();
  const double seconds =
      Seconds([&] {
        for (int i = 0; i < kAgreements; ++i) {
          const auto key =
              AgreementPublicKey::Parse(encoded, AgreementSuite::kX25519);
          const MaskKey mask(CipherSuite::kAes128Ctr,
                             own.Agree(*key)->DeriveMaskSeed(context),
                             MaskStream{});
        }
      }) /
      kAgreements;
  std::printf(
      "X25519 to mask key, with import %5.1f us   floor %5.1f us   ratio "
      "%.3f   (a key pair from its seed %5.1f us)\n",
      1e6 * seconds, 1e6 * floor, seconds / floor, 1e6 * pair_seconds);
}

void BenchmarkQuantizer(int64_t coordinates) {
  const Quantizer quantizer =
      *Quantizer::Create({.modulus = *Modulus::Create(32),
                          .ranges = {{"model", coordinates, 1.0, 16}},
                          .maximum_updates = 100});
  ModularVector out = *ModularVector::Create(*Modulus::Create(32), coordinates);
  const std::vector<float> values(static_cast<size_t>(coordinates), 0.3F);
  SystemSecretRandom random;
  std::vector<uint8_t> bytes(static_cast<size_t>(4 * coordinates));
  const double floor = Seconds([&] { random.Fill(bytes); });
  const double seconds = Seconds(
      [&] { quantizer.Quantize(values, 1, random, &out).IgnoreError(); });
  std::printf("quantize %8.0f M/s   its random bits alone %6.0f M/s\n",
              1e-6 * coordinates / seconds, 1e-6 * coordinates / floor);
  const HadamardRotation rotation =
      *HadamardRotation::Create(coordinates, Sha256Of("seed"));
  std::vector<float> padded(static_cast<size_t>(rotation.padded_size()));
  const double rotating =
      Seconds([&] { rotation.Rotate(values, padded).IgnoreError(); });
  std::printf("rotate   %8.0f M/s\n", 1e-6 * coordinates / rotating);
}

}  // namespace
}  // namespace mledge::secagg

int main(int argc, char** argv) {
  int64_t coordinates = 100'000;
  if (argc == 3 && std::string_view(argv[1]) == "--coordinates") {
    coordinates = std::max<int64_t>(1, std::atoll(argv[2]));
  } else if (argc != 1) {
    std::fprintf(stderr, "usage: %s [--coordinates N]\n", argv[0]);
    return 2;
  }
  for (const int bits : {16, 20, 32}) {
    mledge::secagg::BenchmarkVectors(bits, coordinates);
  }
  mledge::secagg::BenchmarkShamir(100, 67);
  mledge::secagg::BenchmarkShamir(114, 78);
  mledge::secagg::BenchmarkShamir(999, 521);
  mledge::secagg::BenchmarkAgreement();
  mledge::secagg::BenchmarkQuantizer(coordinates);
  return 0;
}
