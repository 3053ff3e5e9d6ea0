#ifndef MLEDGE_AGGREGATION_SECAGG_KEYED_STREAM_H_
#define MLEDGE_AGGREGATION_SECAGG_KEYED_STREAM_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

// Public randomness that everybody expands alike from a 32-byte seed: the order
// of a graph, the signs of a rotation. AES-128-CTR under a key derived by HKDF
// with a label. Not for secrets and not for masks. Not thread-safe.

namespace mledge::secagg {

class KeyedStream {
 public:
  KeyedStream(std::span<const uint8_t, 32> seed, std::string_view label);
  ~KeyedStream();
  KeyedStream(const KeyedStream&) = delete;
  KeyedStream& operator=(const KeyedStream&) = delete;

  // Little-endian words, in the order of the stream.
  uint32_t NextU32();
  void Fill(std::span<uint8_t> out);
  // Uniform on 0 … bound−1, without bias: what would favour small numbers is
  // rejected. Precondition: bound ≥ 1.
  uint32_t UniformBelow(uint32_t bound);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_KEYED_STREAM_H_
