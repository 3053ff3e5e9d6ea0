#ifndef MLEDGE_PRIVACY_SECRET_STREAM_H_
#define MLEDGE_PRIVACY_SECRET_STREAM_H_

#include <cstdint>
#include <memory>
#include <span>

#include "mledge/core/secret_random.h"

// Secret random bytes in bulk: a 32-byte key of a SecretRandom, expanded by
// AES-256 in counter mode (the generator of NIST SP 800-90A's CTR_DRBG between
// two reseedings). One object serves one batch of noise or of rounding and dies
// with it; its key is wiped then, so that no later compromise gives the batch
// back. Under the usual assumption that AES is a pseudo-random permutation the
// bytes cannot be told from uniform ones; every claim of the samplers is made
// for uniform bytes. Not thread-safe.

namespace mledge {

class SecretStream {
 public:
  // Takes 32 bytes of `random`, which is not kept.
  explicit SecretStream(SecretRandom& random);
  ~SecretStream();
  SecretStream(const SecretStream&) = delete;
  SecretStream& operator=(const SecretStream&) = delete;

  // Ends the process if OpenSSL fails: there is no safe way to go on.
  void Fill(std::span<uint8_t> out);
  // The memory of the values; what it held is overwritten.
  template <typename T>
  void FillValues(std::span<T> out) {
    Fill({reinterpret_cast<uint8_t*>(out.data()), out.size_bytes()});
  }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_SECRET_STREAM_H_
