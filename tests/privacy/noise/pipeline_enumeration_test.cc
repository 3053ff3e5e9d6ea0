// The whole integer pipeline for one and two coordinates, enumerated: clip,
// conditional rounding, noise of n devices, modulus. The exact distributions
// with one device's update and with zero in its place (zero-out) are compared
// with what the theorems claim for the sensitivity that GridSensitivity
// states: Rényi divergences of both directions at orders 2, 3, 4, 8 and 16, and
// hockey-stick divergences at many ε. A rotation needs no case of its own: it
// turns one update of a norm into another, and all directions are tried.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numbers>
#include <vector>

#include "mledge/privacy/grid_rounding.h"
#include "mledge/tests/privacy/noise/claims.h"
#include "mledge/tests/privacy/noise/sample_statistics.h"

namespace mledge {
namespace {

// Probabilities of the residues 0 … 2^b − 1 of one coordinate.
using Residues = std::vector<long double>;

constexpr std::array<int, 5> kOrders = {2, 3, 4, 8, 16};
// Relative error of the enumeration itself.
constexpr long double kArithmetic = 1e-9L;

// Σ of n independent N_Z(0, σ²), on −half … half.
std::vector<long double> SumOfDiscreteGaussians(double variance, int devices,
                                                int half) {
  const auto size = static_cast<size_t>(2 * half + 1);
  std::vector<long double> one(size);
  long double total = 0;
  for (int x = -half; x <= half; ++x) {
    total += one[static_cast<size_t>(x + half)] =
        std::exp(-static_cast<long double>(x) * x / (2 * variance));
  }
  for (long double& p : one) p /= total;
  std::vector<long double> sum = one;
  for (int i = 1; i < devices; ++i) {
    std::vector<long double> next(size);
    for (int a = -half; a <= half; ++a) {
      for (int b = std::max(-half, a - half); b <= std::min(half, a + half);
           ++b) {
        next[static_cast<size_t>(a + half)] +=
            sum[static_cast<size_t>(b + half)] *
            one[static_cast<size_t>(a - b + half)];
      }
    }
    sum = next;
  }
  return sum;
}

Residues Wrap(const std::vector<long double>& noise, int shift, int modulus) {
  const int half = static_cast<int>(noise.size()) / 2;
  Residues residues(static_cast<size_t>(modulus));
  for (int x = -half; x <= half; ++x) {
    const int residue = ((x + shift) % modulus + modulus) % modulus;
    residues[static_cast<size_t>(residue)] +=
        noise[static_cast<size_t>(x + half)];
  }
  return residues;
}

// The integer vectors that rounding makes of an update, with probabilities.
struct Rounded {
  std::array<int, 2> q{};
  long double probability = 0;
};

std::vector<Rounded> ConditionalRoundings(std::array<double, 2> value,
                                          int64_t squared_norm_bound) {
  std::vector<Rounded> roundings;
  long double accepted = 0;
  for (int up = 0; up < 4; ++up) {
    Rounded rounded{.probability = 1};
    int64_t squares = 0;
    for (size_t i = 0; i < 2; ++i) {
      const double floor = std::floor(value[i]);
      const double fraction = value[i] - floor;
      const bool goes_up = (up >> i & 1) != 0;
      rounded.probability *= goes_up ? fraction : 1 - fraction;
      rounded.q[i] = static_cast<int>(floor) + (goes_up ? 1 : 0);
      squares += int64_t{rounded.q[i]} * rounded.q[i];
    }
    if (rounded.probability == 0 || squares > squared_norm_bound) continue;
    accepted += rounded.probability;
    roundings.push_back(rounded);
  }
  EXPECT_GT(accepted, 0.39) << "fewer than 1 − e^-1/2 of all roundings";
  for (Rounded& rounded : roundings) rounded.probability /= accepted;
  return roundings;
}

// Distribution of (coordinate 0, coordinate 1) of the sum, row by row; the
// second has one residue where there is one coordinate only.
std::vector<long double> OutputOf(const std::vector<Rounded>& roundings,
                                  const std::vector<long double>& noise,
                                  int modulus, int dimension) {
  std::vector<long double> output;
  for (const Rounded& rounded : roundings) {
    const Residues first = Wrap(noise, rounded.q[0], modulus);
    const Residues second =
        dimension == 2 ? Wrap(noise, rounded.q[1], modulus) : Residues{1};
    output.resize(first.size() * second.size());
    for (size_t i = 0; i < first.size(); ++i) {
      for (size_t k = 0; k < second.size(); ++k) {
        output[i * second.size() + k] +=
            rounded.probability * first[i] * second[k];
      }
    }
  }
  return output;
}

// Σ p (p/q)^(order − 1) for each of kOrders.
std::array<long double, kOrders.size()> RenyiSums(
    const std::vector<long double>& p, const std::vector<long double>& q) {
  std::array<long double, kOrders.size()> sums{};
  for (size_t i = 0; i < p.size(); ++i) {
    // Where long double underflows nothing is left to add.
    if (!(p[i] > 0 && q[i] > 0)) continue;
    const long double ratio = p[i] / q[i];
    long double term = p[i];
    int power = 1;
    for (size_t k = 0; k < kOrders.size(); ++k) {
      for (; power < kOrders[k]; ++power) term *= ratio;
      sums[k] += term;
    }
  }
  return sums;
}

// What exceeds a claim by most, as a factor; at most 1 for a true claim.
long double Excess(const std::vector<long double>& p,
                   const std::vector<long double>& q, const RdpClaim& claim) {
  long double excess = 0;
  const auto sums = RenyiSums(p, q);
  for (size_t k = 0; k < kOrders.size(); ++k) {
    excess = std::max(
        excess, std::log(sums[k]) / (kOrders[k] - 1) / claim.At(kOrders[k]));
  }
  for (double epsilon = 0.1; epsilon < 12; epsilon *= 1.7) {
    const long double factor = std::exp(static_cast<long double>(epsilon));
    long double delta = 0;
    for (size_t i = 0; i < p.size(); ++i) {
      delta += std::max(0.0L, p[i] - factor * q[i]);
    }
    // Below, the enumeration itself has no digits left.
    if (delta > 1e-15L) {
      excess = std::max(excess, delta / claim.DeltaAt(epsilon));
    }
  }
  return excess;
}

struct Pipeline {
  double clip = 0;  // grid units
  int dimension = 1;
  int modulus = 0;
};

// Over directions and lengths of the update, both ways round.
long double WorstExcess(const Pipeline& pipeline,
                        const GridSensitivity& sensitivity,
                        const std::vector<long double>& noise,
                        const RdpClaim& claim) {
  const std::vector<long double> without = OutputOf(
      {{.probability = 1}}, noise, pipeline.modulus, pipeline.dimension);
  long double worst = 0;
  const int directions = pipeline.dimension == 1 ? 1 : 5;
  for (int direction = 0; direction < directions; ++direction) {
    // An eighth of the circle; the rest is symmetric.
    const double angle = std::numbers::pi / 4 * direction / 4;
    for (const double length : {1.0, 0.93, 0.6}) {
      const std::array<double, 2> value = {
          pipeline.clip * length * std::cos(angle),
          pipeline.clip * length * std::sin(angle)};
      const std::vector<long double> with =
          OutputOf(ConditionalRoundings(value, sensitivity.squared_norm_bound),
                   noise, pipeline.modulus, pipeline.dimension);
      worst = std::max(
          {worst, Excess(with, without, claim), Excess(without, with, claim)});
    }
  }
  return worst;
}

// From half a grid unit's noise to a claim that is nearly tight, on grids so
// coarse that rounding matters, with moduli that wrap and that hardly do.
void ForEachPipeline(
    const std::function<void(const Pipeline&, const GridSensitivity&)>& visit) {
  for (const int dimension : {1, 2}) {
    for (const double clip : {0.6, 1.0, 1.7, 3.3}) {
      for (const int modulus :
           dimension == 1 ? std::array{16, 256} : std::array{16, 64}) {
        const auto sensitivity = SensitivityAfterRounding(
            clip, dimension, GridRounding::kConditional);
        ASSERT_TRUE(sensitivity.ok());
        if (sensitivity->squared_norm_bound == 0) continue;
        visit({.clip = clip, .dimension = dimension, .modulus = modulus},
              *sensitivity);
      }
    }
  }
}

TEST(PipelineEnumerationTest, OneDiscreteGaussianKeepsItsClaim) {
  long double tightest = 0;
  ForEachPipeline(
      [&](const Pipeline& pipeline, const GridSensitivity& sensitivity) {
        for (const double deviation : {0.6, 1.0, 2.5}) {
          const double variance = deviation * deviation;
          const long double excess = WorstExcess(
              pipeline, sensitivity, SumOfDiscreteGaussians(variance, 1, 130),
              DiscreteGaussianClaim(sensitivity, variance));
          EXPECT_LE(excess, 1 + kArithmetic)
              << pipeline.clip << " " << pipeline.modulus << " " << deviation;
          tightest = std::max(tightest, excess);
        }
      });
  // The claims are not empty: an update can come close.
  EXPECT_GT(tightest, 0.8);
}

TEST(PipelineEnumerationTest, SumsOfDiscreteGaussiansKeepTheirClaim) {
  ForEachPipeline([&](const Pipeline& pipeline,
                      const GridSensitivity& sensitivity) {
    for (const int devices : {2, 5}) {
      for (const double deviation : {0.5, 0.8, 1.5}) {
        const double variance = deviation * deviation;
        EXPECT_LE(WorstExcess(
                      pipeline, sensitivity,
                      SumOfDiscreteGaussians(variance, devices, 130),
                      DistributedDiscreteGaussianClaim(
                          sensitivity, variance, devices, pipeline.dimension)),
                  1 + kArithmetic)
            << pipeline.clip << " " << pipeline.modulus << " " << devices << " "
            << deviation;
      }
    }
  });
}

TEST(PipelineEnumerationTest, SkellamKeepsItsClaim) {
  for (const double variance : {0.5, 2.0, 9.0}) {
    std::vector<long double> noise;
    for (int64_t x = -130; x <= 130; ++x) {
      // Where double loses its digits the sum ends.
      const double p = SkellamPmf(variance, x);
      noise.push_back(p > 1e-290 ? p : 0);
    }
    ForEachPipeline(
        [&](const Pipeline& pipeline, const GridSensitivity& sensitivity) {
          EXPECT_LE(WorstExcess(pipeline, sensitivity, noise,
                                SkellamClaim(sensitivity, variance)),
                    1 + kArithmetic)
              << pipeline.clip << " " << pipeline.modulus << " " << variance;
        });
  }
}

// What the test can see: noise that is a tenth short, an update a grid unit
// longer than it may be.
TEST(PipelineEnumerationTest, FindsClaimsThatAreNotTrue) {
  const Pipeline pipeline = {.clip = 3.3, .dimension = 2, .modulus = 64};
  const GridSensitivity sensitivity =
      *SensitivityAfterRounding(3.3, 2, GridRounding::kConditional);
  EXPECT_GT(WorstExcess(pipeline, sensitivity,
                        SumOfDiscreteGaussians(0.81 * 4, 1, 130),
                        DiscreteGaussianClaim(sensitivity, 4)),
            1.01);
  GridSensitivity stated = sensitivity;
  stated.l2 -= 1;
  EXPECT_GT(
      WorstExcess(pipeline, sensitivity, SumOfDiscreteGaussians(4, 1, 130),
                  DiscreteGaussianClaim(stated, 4)),
      1.01);
}

}  // namespace
}  // namespace mledge
