#ifndef MLEDGE_CORE_TRAINING_RANDOM_H_
#define MLEDGE_CORE_TRAINING_RANDOM_H_

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

// Public, repeatable randomness: shuffling, dropout, initial values, cohort
// sampling, partitions. Philox4x32-10 (Salmon et al., "Parallel random numbers:
// as easy as 1, 2, 3", SC 2011) in counter mode; the key is the first 8 bytes,
// the counter's upper half the next 8, of SHA-256 over the domain-separated
// stream name. Integers and uniform values are equal on every machine; Normal
// and Gamma call the C library's logarithm and cosine, whose last bit may
// depend on the kind of CPU. The distributions are our own, because
// std::*_distribution differs between standard libraries. Not for secrets: see
// secret_random.h. A value type; not thread-safe.

namespace mledge {

class TrainingRandom {
 public:
  // What one stream depends on. `purpose` separates uses ("shuffle",
  // "dropout", "initial-values", ...).
  struct Stream {
    uint64_t task_seed = 0;
    std::string_view device;  // empty: the coordinator's or the simulator's own
    int64_t ordinal = 0;      // assignment ordinal, or round
    std::string_view purpose;
  };

  // Position of a stream, for snapshots.
  struct State {
    std::array<uint32_t, 2> key{};
    uint64_t stream = 0;
    uint64_t counter = 0;  // in blocks of four 32-bit words
    uint32_t used = 0;     // words of the current block already handed out

    bool operator==(const State&) const = default;
  };

  explicit TrainingRandom(const Stream& stream);
  explicit TrainingRandom(const State& state);

  State state() const;

  uint32_t NextU32();
  uint64_t NextU64();
  // Uniform on 0 … bound−1, without bias. Precondition: bound > 0.
  uint64_t UniformBelow(uint64_t bound);
  // Uniform on [0, 1): 24 and 53 random bits.
  float UniformFloat();
  double UniformDouble();
  // Standard normal (Box–Muller; the second value is not kept, so that the
  // state is a position and nothing else).
  double Normal();
  // Gamma(shape, 1) for shape > 0 (Marsaglia & Tsang 2000; for shape < 1
  // boosted by U^(1/shape), which may underflow to 0 for shapes below 0.01).
  double Gamma(double shape);
  // Fisher–Yates.
  template <typename T>
  void Shuffle(std::span<T> values) {
    for (uint64_t i = values.size(); i > 1; --i) {
      std::swap(values[i - 1], values[UniformBelow(i)]);
    }
  }
  // The `index`-th 32-bit word from the stream's start, without moving: for
  // operators whose result must not depend on how work is split (dropout
  // masks).
  uint32_t WordAt(uint64_t index) const;

 private:
  void Refill();

  State state_;
  std::array<uint32_t, 4> block_{};
};

}  // namespace mledge

#endif  // MLEDGE_CORE_TRAINING_RANDOM_H_
