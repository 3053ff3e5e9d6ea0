#include "mledge/core/training_random.h"

#include <cmath>
#include <numbers>

#include "mledge/core/logging.h"
#include "mledge/core/sha256.h"

namespace mledge {
namespace {

constexpr uint32_t kWordsPerBlock = 4;

// Philox4x32-10; constants from the paper.
std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter,
                                   std::array<uint32_t, 2> key) {
  constexpr uint64_t kMultiplier0 = 0xD2511F53;
  constexpr uint64_t kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9;
  constexpr uint32_t kWeyl1 = 0xBB67AE85;
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = kMultiplier0 * counter[0];
    const uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

std::array<uint32_t, 4> BlockAt(const TrainingRandom::State& state,
                                uint64_t block) {
  return Philox4x32(
      {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
       static_cast<uint32_t>(state.stream),
       static_cast<uint32_t>(state.stream >> 32)},
      state.key);
}

uint64_t LittleEndian(const uint8_t* bytes, int count) {
  uint64_t value = 0;
  for (int i = count - 1; i >= 0; --i) value = value << 8 | bytes[i];
  return value;
}

TrainingRandom::State StartOf(const TrainingRandom::Stream& stream) {
  const Digest name = Sha256()
                          .UpdateField("mledge training random v1")
                          .UpdateU64(stream.task_seed)
                          .UpdateField(stream.device)
                          .UpdateU64(static_cast<uint64_t>(stream.ordinal))
                          .UpdateField(stream.purpose)
                          .Finish();
  const uint8_t* bytes = name.bytes.data();
  return {.key = {static_cast<uint32_t>(LittleEndian(bytes, 4)),
                  static_cast<uint32_t>(LittleEndian(bytes + 4, 4))},
          .stream = LittleEndian(bytes + 8, 8)};
}

// Uniform on (0, 1], for logarithms and powers: 53 random bits.
double UniformAboveZero(TrainingRandom& random) {
  return static_cast<double>((random.NextU64() >> 11) + 1) * 0x1p-53;
}

}  // namespace

TrainingRandom::TrainingRandom(const Stream& stream)
    : TrainingRandom(StartOf(stream)) {}

TrainingRandom::TrainingRandom(const State& state) : state_(state) {
  // A snapshot may name the end of a block; positions are kept in one form.
  state_.counter += state_.used / kWordsPerBlock;
  state_.used %= kWordsPerBlock;
  Refill();
}

TrainingRandom::State TrainingRandom::state() const { return state_; }

void TrainingRandom::Refill() { block_ = BlockAt(state_, state_.counter); }

uint32_t TrainingRandom::NextU32() {
  const uint32_t word = block_[state_.used++];
  if (state_.used == kWordsPerBlock) {
    state_.used = 0;
    ++state_.counter;
    Refill();
  }
  return word;
}

uint64_t TrainingRandom::NextU64() {
  const uint64_t low = NextU32();
  return low | static_cast<uint64_t>(NextU32()) << 32;
}

uint64_t TrainingRandom::UniformBelow(uint64_t bound) {
  CHECK(bound > 0);
  // Lemire, "Fast random integer generation in an interval" (2019): the high
  // half of a product; draws whose low half falls into the uneven rest are
  // thrown away.
  unsigned __int128 product = static_cast<unsigned __int128>(NextU64()) * bound;
  if (static_cast<uint64_t>(product) < bound) {
    const uint64_t uneven = -bound % bound;
    while (static_cast<uint64_t>(product) < uneven) {
      product = static_cast<unsigned __int128>(NextU64()) * bound;
    }
  }
  return static_cast<uint64_t>(product >> 64);
}

float TrainingRandom::UniformFloat() {
  return static_cast<float>(NextU32() >> 8) * 0x1p-24f;
}

double TrainingRandom::UniformDouble() {
  return static_cast<double>(NextU64() >> 11) * 0x1p-53;
}

double TrainingRandom::Normal() {
  const double radius = std::sqrt(-2 * std::log(UniformAboveZero(*this)));
  return radius * std::cos(2 * std::numbers::pi * UniformDouble());
}

double TrainingRandom::Gamma(double shape) {
  CHECK(shape > 0 && std::isfinite(shape));
  if (shape < 1) {
    const double boosted = Gamma(shape + 1);
    return boosted * std::pow(UniformAboveZero(*this), 1 / shape);
  }
  const double d = shape - 1.0 / 3;
  const double c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = Normal();
    const double cube_root = 1 + c * x;
    if (cube_root <= 0) continue;
    const double v = cube_root * cube_root * cube_root;
    if (std::log(UniformAboveZero(*this)) <
        0.5 * x * x + d - d * v + d * std::log(v)) {
      return d * v;
    }
  }
}

uint32_t TrainingRandom::WordAt(uint64_t index) const {
  return BlockAt(state_, index / kWordsPerBlock)[index % kWordsPerBlock];
}

}  // namespace mledge
