#ifndef MLEDGE_TESTS_PRIVACY_TEST_SECRET_RANDOM_H_
#define MLEDGE_TESTS_PRIVACY_TEST_SECRET_RANDOM_H_

#include <cstdint>
#include <span>

#include "mledge/core/secret_random.h"
#include "mledge/core/training_random.h"

// Secrets that a test can foresee: the same bytes for the same seed.

namespace mledge {

class TestSecretRandom final : public SecretRandom {
 public:
  explicit TestSecretRandom(uint64_t seed)
      : random_({.task_seed = seed, .purpose = "privacy-test"}) {}
  void Fill(std::span<uint8_t> out) override {
    for (uint8_t& byte : out) byte = static_cast<uint8_t>(random_.NextU32());
  }

 private:
  TrainingRandom random_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_PRIVACY_TEST_SECRET_RANDOM_H_
