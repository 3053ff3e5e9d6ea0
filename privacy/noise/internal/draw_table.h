#ifndef MLEDGE_PRIVACY_NOISE_INTERNAL_DRAW_TABLE_H_
#define MLEDGE_PRIVACY_NOISE_INTERNAL_DRAW_TABLE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "mledge/privacy/noise/internal/wide_fixed.h"
#include "mledge/privacy/secret_stream.h"

// Draws from a table of probabilities p_0, …, p_{N−1}, in blocks, with the same
// instructions at the same addresses whatever is drawn: no branch and no index
// depends on a drawn number.
//
// Each p_i is split exactly into q_i / 2^31, rounded down, and a rest. A word
// of 32 random bits is compared with all cumulative sums of the q_i at once
// (inversion; a count of comparisons, many words side by side); its lowest bit
// takes no part and is left to the caller for a sign. With the probability r =
// 1 − Σ q_i / 2^31, below N / 2^31, the word lies beyond them all: then the
// outcome is drawn from the rests, by inversion of 128 bits. Every block draws
// as many outcomes of the rests as it could need ("slots"), needed or not, and
// the words that lie beyond take them in order.
//
// Statistical distance of a block of kBlock draws from independent draws of the
// weights given: at most 2^-110 that more words lie beyond than there are slots
// (P[Binomial(n, r) > S] ≤ (n r)^{S+1} / (S+1)!), and kBlock · r · N · 2^-128
// for the rounding of the rests, far below. Immutable; const access from
// several threads is safe.

namespace mledge::noise_internal {

class DrawTable {
 public:
  static constexpr size_t kBlock = 1024;
  static constexpr size_t kMostOutcomes = 4096;

  // Working memory of one batch; wiped when it dies.
  struct Block {
    ~Block();
    // The outcome with the word's lowest bit as its sign.
    int32_t Signed(size_t i) const {
      const int32_t negative = words[i] & 1;
      return (outcomes[i] ^ -negative) + negative;
    }
    // The random words; the lowest bit of each is independent of its outcome.
    alignas(64) std::array<int32_t, kBlock> words;
    alignas(64) std::array<int32_t, kBlock> outcomes;
  };

  // weights[i] is p_i times a common factor; the weights as integers add up to
  // less than 2^224. Precondition: 2 to kMostOutcomes of them, the first not
  // zero, and none that lies in front of a larger one is below p = 2^-31.
  // `main_bits`: the 31 of above; less makes the rests large enough to test.
  explicit DrawTable(std::span<const WideFixed> weights, int main_bits = 31);

  // Fills the block.
  void Draw(SecretStream& stream, Block* block) const;

  int32_t largest() const {
    return static_cast<int32_t>(rest_thresholds_.size());
  }

 private:
  template <typename Slots>
  void DrawWithSlots(SecretStream& stream, Block* block) const;

  // Sums of the 2 · q_i, moved down by 2^31 to be signed.
  std::vector<int32_t> thresholds_;
  // An outcome of the rests is how many of these are at most 128 random bits.
  std::vector<unsigned __int128> rest_thresholds_;
  int slots_ = 0;
};

}  // namespace mledge::noise_internal

#endif  // MLEDGE_PRIVACY_NOISE_INTERNAL_DRAW_TABLE_H_
