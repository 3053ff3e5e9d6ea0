#ifndef MLEDGE_SIMULATION_DETERMINISTIC_SECRET_RANDOM_H_
#define MLEDGE_SIMULATION_DETERMINISTIC_SECRET_RANDOM_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "mledge/core/mutex.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/training_random.h"

// A SecretRandom that anybody can predict, so that simulations and tests can be
// repeated. It must never reach a real fleet: it lives here because nothing
// that ships to devices or runs the coordinator links simulation/. Thread-safe;
// with several threads, who gets which bytes depends on who comes first.

namespace mledge {

class DeterministicSecretRandom final : public SecretRandom {
 public:
  explicit DeterministicSecretRandom(uint64_t seed)
      : random_({.task_seed = seed, .purpose = "simulated-secrets"}) {}
  // Of one device and piece of work.
  DeterministicSecretRandom(uint64_t seed, std::string_view device,
                            int64_t ordinal, std::string_view purpose)
      : random_({.task_seed = seed,
                 .device = device,
                 .ordinal = ordinal,
                 .purpose = purpose}) {}

  bool IsPredictable() const override { return true; }
  void Fill(std::span<uint8_t> out) override {
    MutexLock lock(&mutex_);
    for (uint8_t& byte : out) byte = static_cast<uint8_t>(random_.NextU32());
  }

 private:
  Mutex mutex_;
  TrainingRandom random_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mledge

#endif  // MLEDGE_SIMULATION_DETERMINISTIC_SECRET_RANDOM_H_
