#ifndef MLEDGE_CORE_SECRET_RANDOM_H_
#define MLEDGE_CORE_SECRET_RANDOM_H_

#include <cstdint>
#include <span>
#include <string>

#include "mledge/core/secret_bytes.h"

// Randomness that an adversary must not predict: keys, masks, noise, stochastic
// rounding, tokens. It shares no base with TrainingRandom, so neither can stand
// in for the other. The deterministic version lives in simulation/ and is
// linkable from there and from tests only.

namespace mledge {

class SecretRandom {
 public:
  virtual ~SecretRandom() = default;
  // Whether others could know what it draws, so that what it hides is not
  // hidden: only simulations and tests have such ones.
  virtual bool IsPredictable() const { return false; }
  // Fills `out`. Ends the process if the generator fails: there is no safe way
  // to go on with predictable secrets. Thread-safe.
  virtual void Fill(std::span<uint8_t> out) = 0;

  SecretBytes Bytes(size_t size_in_bytes);
  // Lower-case hexadecimal, two digits a byte: for ids, not for keys.
  std::string HexToken(size_t size_in_bytes);
};

// OpenSSL's RAND_priv_bytes.
class SystemSecretRandom final : public SecretRandom {
 public:
  void Fill(std::span<uint8_t> out) override;
};

}  // namespace mledge

#endif  // MLEDGE_CORE_SECRET_RANDOM_H_
