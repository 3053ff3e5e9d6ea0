#ifndef MLEDGE_TESTS_AGGREGATION_SECAGG_TEST_RANDOM_H_
#define MLEDGE_TESTS_AGGREGATION_SECAGG_TEST_RANDOM_H_

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

#include "mledge/aggregation/secagg/mask_seed.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/training_random.h"

// Secrets that a test can foresee.

namespace mledge::secagg {

// The same bytes for the same seed.
class RepeatableRandom final : public SecretRandom {
 public:
  explicit RepeatableRandom(uint64_t seed)
      : random_({.task_seed = seed, .purpose = "secagg-test"}) {}
  void Fill(std::span<uint8_t> out) override {
    for (uint8_t& byte : out) byte = static_cast<uint8_t>(random_.NextU32());
  }

 private:
  TrainingRandom random_;
};

// `first`, first + 1, first + 2, … wherever it is asked: seeds of test vectors.
class CountingRandom final : public SecretRandom {
 public:
  explicit CountingRandom(uint8_t first) : first_(first) {}
  void Fill(std::span<uint8_t> out) override {
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = static_cast<uint8_t>(first_ + i);
    }
  }

 private:
  uint8_t first_;
};

inline MaskSeed CountingSeed(uint8_t first) {
  CountingRandom random(first);
  return MaskSeed::Generate(random);
}

}  // namespace mledge::secagg

#endif  // MLEDGE_TESTS_AGGREGATION_SECAGG_TEST_RANDOM_H_
