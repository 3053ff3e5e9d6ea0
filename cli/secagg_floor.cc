#include "mledge/cli/secagg_floor.h"

#include <openssl/evp.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mledge/core/logging.h"
#include "mledge/core/secret_random.h"
#include "mledge/identity/private_key.h"
#include "mledge/identity/witness_key.h"

namespace mledge {
namespace {

double ThreadSeconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * time.tv_nsec;
}

// Seconds a call, the best of several stretches of `repetitions`.
double Best(int repetitions, const std::function<void()>& call) {
  double best = 1e9;
  for (int stretch = 0; stretch < 7; ++stretch) {
    const double start = ThreadSeconds();
    for (int i = 0; i < repetitions; ++i) call();
    best = std::min(best, (ThreadSeconds() - start) / repetitions);
  }
  return best;
}

double KeystreamByte() {
  constexpr int kBlock = 16 * 1024;
  const std::vector<uint8_t> zeros(kBlock);
  std::vector<uint8_t> out(kBlock);
  const uint8_t key[32] = {1}, counter[16] = {};
  const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(
      EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  CHECK(EVP_EncryptInit_ex(context.get(), EVP_aes_128_ctr(), nullptr, key,
                           counter) == 1);
  return Best(400,
              [&] {
                int size = 0;
                CHECK(EVP_EncryptUpdate(context.get(), out.data(), &size,
                                        zeros.data(), kBlock) == 1);
              }) /
         kBlock;
}

double Agreement() {
  using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  const uint8_t secret[32] = {7};
  uint8_t peer[32] = {9};
  const Key own(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, secret,
                                             sizeof(secret)),
                EVP_PKEY_free);
  return Best(100, [&] {
    const Key other(EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, peer,
                                                sizeof(peer)),
                    EVP_PKEY_free);
    const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(
        EVP_PKEY_CTX_new(own.get(), nullptr), EVP_PKEY_CTX_free);
    uint8_t shared[32];
    size_t size = sizeof(shared);
    CHECK(EVP_PKEY_derive_init(context.get()) == 1 &&
          EVP_PKEY_derive_set_peer_ex(context.get(), other.get(), 0) == 1 &&
          EVP_PKEY_derive(context.get(), shared, &size) == 1);
  });
}

}  // namespace

SecaggFloor MeasureSecaggFloor() {
  const PrivateKey key = PrivateKey::Generate();
  const PublicKey public_key = key.public_key();
  const std::string message(100, 'm');
  const std::string signature = key.Sign(message);
  SystemSecretRandom random;
  const WitnessKey witness = WitnessKey::Generate(random);
  const std::string statement = witness.Sign(message);
  return {.seconds_per_keystream_byte = KeystreamByte(),
          .seconds_per_agreement = Agreement(),
          .seconds_per_verification = Best(
              50, [&] { CHECK(public_key.Verify(message, signature).ok()); }),
          .seconds_per_signature = Best(50, [&] { (void)key.Sign(message); }),
          .seconds_per_witness = Best(50, [&] {
            CHECK(witness.public_key().Verify(message, statement).ok());
          })};
}

}  // namespace mledge
