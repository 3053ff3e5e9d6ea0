#include "mledge/privacy/noise/internal/draw_table.h"

#include <openssl/crypto.h>

#include <cmath>
#include <cstring>

#include "mledge/core/logging.h"

namespace mledge::noise_internal {
namespace {

constexpr int kRestBits = 128;
// 12 bits hold an outcome.
constexpr int kSlotBits = 12;
static_assert(DrawTable::kMostOutcomes <= size_t{1} << kSlotBits);
constexpr int kMostSlots = kRestBits / kSlotBits;
constexpr double kMostOverflow = 0x1p-110;

using Wide128 = unsigned __int128;
// Four words side by side, which every 64-bit processor's vector unit holds;
// wider ones are used where the compiler finds them.
using Lanes = int32_t __attribute__((vector_size(16)));
constexpr size_t kLanes = sizeof(Lanes) / sizeof(int32_t);
constexpr size_t kUnrolled = 4;

// The least number of slots that a block overflows with at most kMostOverflow.
int SlotsFor(double rest) {
  const double expected = rest * DrawTable::kBlock;
  double overflow = expected;
  int slots = 0;
  while (overflow > kMostOverflow) {
    ++slots;
    overflow *= expected / (slots + 1);
  }
  CHECK(slots <= kMostSlots);
  return slots;
}

// Minus the number of thresholds above each word.
void CountAbove(std::span<const int32_t> thresholds, const int32_t* words,
                int32_t* counts) {
  constexpr size_t kGroup = kLanes * kUnrolled;
  for (size_t begin = 0; begin < DrawTable::kBlock; begin += kGroup) {
    Lanes word[kUnrolled];
    Lanes count[kUnrolled] = {};
    std::memcpy(word, words + begin, sizeof(word));
    for (const int32_t threshold : thresholds) {
      const Lanes above = {threshold, threshold, threshold, threshold};
      for (size_t k = 0; k < kUnrolled; ++k) count[k] += above > word[k];
    }
    std::memcpy(counts + begin, count, sizeof(count));
  }
}

}  // namespace

DrawTable::Block::~Block() {
  OPENSSL_cleanse(words.data(), sizeof(words));
  OPENSSL_cleanse(outcomes.data(), sizeof(outcomes));
}

DrawTable::DrawTable(std::span<const WideFixed> weights, int main_bits) {
  CHECK(weights.size() >= 2 && weights.size() <= kMostOutcomes);
  WideFixed total;
  for (const WideFixed& weight : weights) total = total + weight;
  // Sums of the rests, in units of total · 2^main_bits.
  std::vector<WideFixed> rests;
  WideFixed rest_total;
  uint64_t main_total = 0;
  for (const WideFixed& weight : weights) {
    WideFixed rest;
    const uint64_t main =
        WideFixed::Quotient(weight, main_bits, total, &rest).Low64();
    if (main > 0) {
      // Outcomes of the main part are a prefix of all.
      CHECK(thresholds_.size() == rests.size());
      main_total += main;
      thresholds_.push_back(static_cast<int32_t>(
          static_cast<int64_t>(main_total << (32 - main_bits)) -
          (int64_t{1} << 31)));
    }
    rest_total = rest_total + rest;
    rests.push_back(rest_total);
  }
  // The rests add up to a whole number of units.
  CHECK(main_total < uint64_t{1} << main_bits);
  rests.pop_back();
  for (const WideFixed& rest : rests) {
    rest_thresholds_.push_back(
        rest < rest_total
            ? WideFixed::Quotient(rest, kRestBits, rest_total).Low128()
            : ~Wide128{0});
  }
  slots_ =
      SlotsFor(1 - std::ldexp(static_cast<double>(main_total), -main_bits));
}

void DrawTable::Draw(SecretStream& stream, Block* block) const {
  if (slots_ <= 64 / kSlotBits) {
    DrawWithSlots<uint64_t>(stream, block);
  } else {
    DrawWithSlots<Wide128>(stream, block);
  }
}

template <typename Slots>
void DrawTable::DrawWithSlots(SecretStream& stream, Block* block) const {
  // Outcomes of the rests, the first in the lowest bits.
  Slots slots = 0;
  for (int slot = 0; slot < slots_; ++slot) {
    std::array<Wide128, 1> bits;
    stream.FillValues(std::span<Wide128>(bits));
    uint32_t outcome = 0;
    for (const Wide128 threshold : rest_thresholds_) {
      outcome += static_cast<uint32_t>(bits[0] >= threshold);
    }
    slots |= static_cast<Slots>(outcome) << (slot * kSlotBits);
  }
  stream.FillValues(std::span<int32_t>(block->words));
  CountAbove(thresholds_, block->words.data(), block->outcomes.data());
  const auto count = static_cast<int32_t>(thresholds_.size());
  constexpr Slots kSlotMask = (Slots{1} << kSlotBits) - 1;
  for (int32_t& outcome : block->outcomes) {
    // All ones where no threshold is above the word.
    const auto beyond = -static_cast<Slots>(outcome == 0);
    const auto main =
        static_cast<Slots>(static_cast<uint32_t>(count + outcome));
    const Slots slot = slots & kSlotMask;
    outcome = static_cast<int32_t>(
        static_cast<uint32_t>((main & ~beyond) | (slot & beyond)));
    slots = (slots & ~beyond) | (slots >> kSlotBits & beyond);
  }
}

}  // namespace mledge::noise_internal
