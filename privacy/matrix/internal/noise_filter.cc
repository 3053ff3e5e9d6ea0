#include "mledge/privacy/matrix/internal/noise_filter.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <variant>

#include "absl/status/status.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/matrix/correlated_grid.h"

namespace mledge::matrix_internal {
namespace {

constexpr double kLargestInteger = 0x1p62;

// Values of one block stay in the first-level cache while all vectors pass.
constexpr size_t kBlock = 512;

absl::Status CheckFits(double largest) {
  if (largest < kLargestInteger) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat("correlated noise may reach ", largest,
             " in its integers, which hold 2^62: fewer fraction bits or a "
             "smaller standard deviation are needed"));
}

int64_t Scaled(double value, int bits) {
  return std::llround(std::ldexp(value, bits));
}

// The largest that any buffer gets for |z| ≤ 1: sums of magnitudes of its
// responses to a single draw, which are far below those of C⁻¹ times the rounds
// that a buffer holds, because results cancel.
double LargestBuffer(const BufferedToeplitz& matrix,
                     std::span<const double> inverse) {
  double largest = 0;
  for (double decay : matrix.decays) {
    double held = 0;
    double sum = 0;
    for (double value : inverse) {
      held = decay * held + value;
      sum += std::abs(held);
    }
    largest = std::max(largest, sum);
  }
  return largest;
}

}  // namespace

double RoundsHeld(const BufferedToeplitz& matrix, int64_t rounds) {
  double sum = 0;
  for (size_t j = 0; j < matrix.decays.size(); ++j) {
    sum += matrix.weights[j] *
           std::min(static_cast<double>(rounds), 1 / (1 - matrix.decays[j]));
  }
  return sum;
}

absl::StatusOr<NoiseFilter> NoiseFilter::Create(const StrategyMatrix& strategy,
                                                int64_t rounds,
                                                int fraction_bits,
                                                int64_t largest_z) {
  MLEDGE_ASSIGN_OR_RETURN(const StrategyMatrix on_grid,
                          RoundStrategyToGrid(strategy, fraction_bits));
  if (on_grid != strategy) {
    return absl::InvalidArgumentError(StrCat(
        DescribeStrategy(strategy),
        ": coefficients are not on the grid; RoundStrategyToGrid puts them "
        "there"));
  }
  NoiseFilter filter;
  filter.fraction_bits_ = fraction_bits;
  MLEDGE_ASSIGN_OR_RETURN(filter.vectors_, VectorsOfMemory(strategy, rounds));
  if (std::holds_alternative<TreeAggregation>(strategy)) {
    filter.kind_ = Kind::kTree;
    MLEDGE_RETURN_IF_ERROR(CheckFits(static_cast<double>(filter.vectors_ + 1) *
                                     static_cast<double>(largest_z)));
  } else if (const auto* bands = std::get_if<BandedToeplitz>(&strategy)) {
    filter.kind_ = Kind::kBands;
    MLEDGE_ASSIGN_OR_RETURN(const std::vector<double> inverse,
                            InverseCoefficients(*bands, rounds));
    double largest = 0;
    for (double value : inverse) largest += std::abs(value);
    // Rounding adds half a unit to each draw.
    largest *= static_cast<double>(largest_z) + 1;
    double sum = 1;
    for (int64_t i = 1; i <= filter.vectors_; ++i) {
      const double c = bands->coefficients[static_cast<size_t>(i)];
      sum += c;
      filter.coefficients_.push_back(Scaled(c, fraction_bits));
    }
    MLEDGE_RETURN_IF_ERROR(CheckFits(std::ldexp(sum * largest, fraction_bits)));
  } else {
    const auto& buffers = std::get<BufferedToeplitz>(strategy);
    filter.kind_ = Kind::kBuffers;
    MLEDGE_ASSIGN_OR_RETURN(const std::vector<double> inverse,
                            InverseCoefficients(buffers, rounds));
    // Rounding adds to each draw half a unit and what the buffers' own errors
    // come to, and to each buffer less than a unit a round.
    const double held = RoundsHeld(buffers, rounds);
    MLEDGE_RETURN_IF_ERROR(CheckFits(
        std::ldexp(LargestBuffer(buffers, inverse) *
                           (static_cast<double>(largest_z) + 1 + held) +
                       static_cast<double>(rounds),
                   kBufferStateBits)));
    for (size_t j = 0; j < buffers.decays.size(); ++j) {
      filter.decays_.push_back(
          Scaled(buffers.decays[j], kBufferCoefficientBits));
      filter.weights_.push_back(
          Scaled(buffers.weights[j], kBufferCoefficientBits));
    }
  }
  return filter;
}

void NoiseFilter::Apply(int64_t round, std::span<int64_t* const> state,
                        std::span<int64_t> values) const {
  switch (kind_) {
    case Kind::kTree:
      return ApplyTree(round, state, values);
    case Kind::kBands:
      return ApplyBands(round, state, values);
    case Kind::kBuffers:
      return ApplyBuffers(state, values);
  }
}

// The node that round's prefix adds replaces all smaller ones before it.
void NoiseFilter::ApplyTree(int64_t round, std::span<int64_t* const> state,
                            std::span<int64_t> values) const {
  const int level = std::countr_zero(static_cast<uint64_t>(round) + 1);
  // The largest node of all is never replaced, so it is not kept.
  int64_t* const node = level < vectors_ ? state[level] : nullptr;
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t z = values[i];
    int64_t replaced = 0;
    for (int below = 0; below < level; ++below) replaced += state[below][i];
    values[i] = z - replaced;
    if (node != nullptr) node[i] = z;
  }
}

// Vector v holds the result of the last round that is v modulo their number.
void NoiseFilter::ApplyBands(int64_t round, std::span<int64_t* const> state,
                             std::span<int64_t> values) const {
  if (vectors_ == 0) return;
  const auto vector_of = [this](int64_t of_round) {
    return (of_round % vectors_ + vectors_) % vectors_;
  };
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const size_t size = std::min(kBlock, values.size() - begin);
    // The oldest result is in the vector that this round's goes to, so the sum
    // of products grows there. Vectors of rounds that were not yet are zero.
    int64_t* const now = state[vector_of(round)] + begin;
    for (size_t i = 0; i < size; ++i) now[i] *= coefficients_.back();
    for (int64_t back = 1; back < vectors_; ++back) {
      const int64_t* const before = state[vector_of(round - back)] + begin;
      const int64_t c = coefficients_[static_cast<size_t>(back - 1)];
      for (size_t i = 0; i < size; ++i) now[i] += c * before[i];
    }
    for (size_t i = 0; i < size; ++i) {
      values[begin + i] -= RoundHalfUp(now[i], fraction_bits_);
      now[i] = values[begin + i];
    }
  }
}

void NoiseFilter::ApplyBuffers(std::span<int64_t* const> state,
                               std::span<int64_t> values) const {
  const size_t buffers = decays_.size();
  for (size_t i = 0; i < values.size(); ++i) {
    __int128 sum = 0;
    for (size_t j = 0; j < buffers; ++j) {
      sum += static_cast<__int128>(weights_[j]) * state[j][i];
    }
    values[i] -= static_cast<int64_t>(
        RoundHalfUp(sum, kBufferCoefficientBits + kBufferStateBits));
    const int64_t result = values[i] << kBufferStateBits;
    for (size_t j = 0; j < buffers; ++j) {
      const __int128 decayed = static_cast<__int128>(decays_[j]) * state[j][i];
      state[j][i] =
          static_cast<int64_t>(RoundHalfUp(decayed, kBufferCoefficientBits)) +
          result;
    }
  }
}

}  // namespace mledge::matrix_internal
