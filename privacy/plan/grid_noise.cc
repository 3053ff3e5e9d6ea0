#include "mledge/privacy/plan/grid_noise.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <vector>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/noise/discrete_gaussian.h"
#include "mledge/privacy/noise/skellam.h"

namespace mledge {
namespace {

// Draws at a time; they stay in the cache.
constexpr size_t kBlock = 4096;

template <typename Sampler, typename Integer>
absl::Status AddDraws(const Sampler& sampler, SecretRandom& random,
                      std::span<Integer> values) {
  std::vector<Integer> draws(std::min(kBlock, values.size()));
  absl::Status status;
  for (size_t begin = 0; begin < values.size() && status.ok();
       begin += kBlock) {
    const size_t count = std::min(kBlock, values.size() - begin);
    sampler(random, std::span(draws).first(count));
    for (size_t i = 0; i < count; ++i) {
      if (__builtin_add_overflow(values[begin + i], draws[i],
                                 &values[begin + i])) {
        status = absl::OutOfRangeError(
            StrCat("value ", begin + i, " and its noise do not fit"));
        break;
      }
    }
  }
  // Whoever knows the noise knows the values.
  OPENSSL_cleanse(draws.data(), draws.size() * sizeof(Integer));
  return status;
}

template <typename Integer>
absl::Status Add(const GridNoise& noise, SecretRandom& random,
                 std::span<Integer> values) {
  if (noise.kind == NoiseKind::kDiscreteGaussian) {
    MLEDGE_ASSIGN_OR_RETURN(const DiscreteGaussian gaussian,
                            DiscreteGaussian::Create(noise.variance));
    return AddDraws(
        [&gaussian](SecretRandom& bytes, std::span<Integer> draws) {
          gaussian.Fill(bytes, draws);
        },
        random, values);
  }
  MLEDGE_ASSIGN_OR_RETURN(const Skellam skellam,
                          Skellam::Create(noise.variance));
  return AddDraws(
      [&skellam](SecretRandom& bytes, std::span<Integer> draws) {
        if constexpr (sizeof(Integer) == sizeof(int32_t)) {
          skellam.Fill(bytes, draws);
        } else {
          std::vector<int32_t> narrow(draws.size());
          skellam.Fill(bytes, narrow);
          std::copy(narrow.begin(), narrow.end(), draws.begin());
          OPENSSL_cleanse(narrow.data(), narrow.size() * sizeof(int32_t));
        }
      },
      random, values);
}

}  // namespace

absl::Status AddGridNoise(const GridNoise& noise, SecretRandom& random,
                          std::span<int32_t> values) {
  return Add(noise, random, values);
}

absl::Status AddGridNoise(const GridNoise& noise, SecretRandom& random,
                          std::span<int64_t> values) {
  return Add(noise, random, values);
}

}  // namespace mledge
