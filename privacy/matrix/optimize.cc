#include "mledge/privacy/matrix/optimize.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/matrix/internal/lbfgs.h"
#include "mledge/privacy/matrix/internal/window_sums.h"

namespace mledge {
namespace {

using matrix_internal::Minimize;
using matrix_internal::Minimum;

constexpr int64_t kMostBandProducts = int64_t{1} << 23;
constexpr int64_t kMostBufferProducts = int64_t{1} << 20;
// A buffer of less weight is left out; well above the grid of 2⁻³⁰.
constexpr double kLeastWeight = 1e-6;
// Of the weight of a buffer that is tried in addition.
constexpr double kTriedShare = 0.05;

// Nothing but sums, products, quotients and square roots below, which IEEE 754
// rounds in one way: the C library's exponentials and logarithms are not the
// same on all machines.

// From all numbers to those between 0 and 1, its slope and its inverse.
double Squash(double u) { return 0.5 * (1 + u / std::sqrt(1 + u * u)); }
double SquashSlope(double u) {
  const double square = 1 + u * u;
  return 0.5 / (square * std::sqrt(square));
}
double Unsquash(double p) { return (p - 0.5) / std::sqrt(p * (1 - p)); }

// From all numbers to those above 0, its slope over its value, its inverse.
double Lift(double v) {
  const double root = std::sqrt(1 + v * v);
  return v >= 0 ? root + v : 1 / (root - v);
}
double LiftGrowth(double v) { return 1 / std::sqrt(1 + v * v); }
double Unlift(double w) { return 0.5 * (w - 1 / w); }

// base^exponent for an exponent between 0 and 1, by its binary digits.
double Power(double base, double exponent) {
  double power = 1;
  for (int digit = 0; digit < 40; ++digit) {
    base = std::sqrt(base);
    exponent *= 2;
    if (exponent >= 1) {
      power *= base;
      exponent -= 1;
    }
  }
  return power;
}

// Squared sensitivity and squared error as functions of a Toeplitz matrix's
// coefficients; the root of their product is what is minimised, so the scale of
// the coefficients plays no part.
class Objective {
 public:
  Objective(const ParticipationLimits& limits, ErrorMeasure measure)
      : rounds_(static_cast<size_t>(limits.rounds)),
        separation_(limits.separation),
        participations_(MostParticipations(limits)),
        shares_(rounds_, 1.0) {
    // The coefficient of B that is t behind is in the error of all rounds but
    // the first t.
    if (measure == ErrorMeasure::kRootMeanSquare) {
      for (size_t t = 0; t < rounds_; ++t) {
        shares_[t] =
            static_cast<double>(rounds_ - t) / static_cast<double>(rounds_);
      }
    }
  }

  size_t rounds() const { return rounds_; }

  // ‖Σ columns‖² and its gradient by the coefficients.
  double SquaredSensitivity(std::span<const double> column,
                            std::vector<double>* gradient) const {
    std::vector<double> sums =
        matrix_internal::WindowSums(column, separation_, participations_);
    double square = 0;
    for (double sum : sums) square += sum * sum;
    std::reverse(sums.begin(), sums.end());
    *gradient = matrix_internal::WindowSums(sums, separation_, participations_);
    std::reverse(gradient->begin(), gradient->end());
    for (double& value : *gradient) value *= 2;
    return square;
  }

  // Σ share·b², and share·b, which its gradient consists of.
  double SquaredError(std::span<const double> b,
                      std::vector<double>* shared) const {
    shared->resize(rounds_);
    double square = 0;
    for (size_t t = 0; t < rounds_; ++t) {
      (*shared)[t] = shares_[t] * b[t];
      square += (*shared)[t] * b[t];
    }
    return square;
  }

 private:
  const size_t rounds_;
  const int64_t separation_;
  const int64_t participations_;
  std::vector<double> shares_;
};

// c[i] = squash(u[1])·…·squash(u[i]): never negative, never growing.
std::vector<double> BandsOf(std::span<const double> u) {
  std::vector<double> c = {1};
  for (double value : u) c.push_back(c.back() * Squash(value));
  return c;
}

// Solves C·x = y for banded C, in place.
void SolveBands(std::span<const double> c, std::vector<double>* y) {
  for (size_t t = 1; t < y->size(); ++t) {
    for (size_t i = 1; i <= t && i < c.size(); ++i) {
      (*y)[t] -= c[i] * (*y)[t - i];
    }
  }
}

double BandLoss(const Objective& objective, std::span<const double> u,
                std::span<double> gradient) {
  const std::vector<double> c = BandsOf(u);
  std::vector<double> column = c;
  column.resize(objective.rounds());
  std::vector<double> by_column;
  const double sensitivity = objective.SquaredSensitivity(column, &by_column);
  // B is the series of 1/((1 − x)·C(x)); its derivative by c[i] is minus that
  // of x^i/((1 − x)·C(x)²).
  std::vector<double> b(objective.rounds(), 1.0);
  SolveBands(c, &b);
  std::vector<double> twice = b;
  SolveBands(c, &twice);
  std::vector<double> shared;
  const double error = objective.SquaredError(b, &shared);
  const double loss = std::sqrt(sensitivity * error);
  // By u[i]: every coefficient from i on grows in proportion.
  double tail = 0;
  for (size_t i = c.size(); i-- > 1;) {
    double by_error = 0;
    for (size_t t = i; t < b.size(); ++t) by_error -= shared[t] * twice[t - i];
    tail += c[i] * (0.5 * by_column[i] / sensitivity + by_error / error);
    gradient[i - 1] = loss * tail * SquashSlope(u[i - 1]) / Squash(u[i - 1]);
  }
  return loss;
}

// First the decays' variables, then the weights': θ = squash(u),
// ω_j = lift(v_j) / (1 + Σ lift(v)).
BufferedToeplitz BuffersOf(std::span<const double> x) {
  const size_t buffers = x.size() / 2;
  BufferedToeplitz matrix;
  double sum = 1;
  for (size_t j = 0; j < buffers; ++j) {
    matrix.decays.push_back(Squash(x[j]));
    matrix.weights.push_back(Lift(x[buffers + j]));
    sum += matrix.weights.back();
  }
  for (double& weight : matrix.weights) weight /= sum;
  return matrix;
}

std::vector<double> VariablesOf(const BufferedToeplitz& matrix) {
  std::vector<double> x;
  double rest = 1;
  for (double decay : matrix.decays) x.push_back(Unsquash(decay));
  for (double weight : matrix.weights) rest -= weight;
  for (double weight : matrix.weights) x.push_back(Unlift(weight / rest));
  return x;
}

// Solves C·x = y for a BLT, in place.
void SolveBuffers(const BufferedToeplitz& matrix, std::vector<double>* y) {
  std::vector<double> held(matrix.decays.size());
  for (double& value : *y) {
    for (size_t j = 0; j < held.size(); ++j) {
      value -= matrix.weights[j] * held[j];
    }
    for (size_t j = 0; j < held.size(); ++j) {
      held[j] = matrix.decays[j] * held[j] + value;
    }
  }
}

double BufferLoss(const Objective& objective, std::span<const double> x,
                  std::span<double> gradient) {
  const BufferedToeplitz matrix = BuffersOf(x);
  const size_t buffers = matrix.decays.size();
  const size_t rounds = objective.rounds();
  for (double decay : matrix.decays) {
    if (!(decay > 0 && decay < 1)) {
      return std::numeric_limits<double>::infinity();
    }
  }
  std::vector<double> column(rounds);
  column[0] = 1;
  std::vector<double> powers = matrix.weights;
  for (size_t t = 1; t < rounds; ++t) {
    for (size_t j = 0; j < buffers; ++j) {
      column[t] += powers[j];
      powers[j] *= matrix.decays[j];
    }
  }
  std::vector<double> by_column;
  const double sensitivity = objective.SquaredSensitivity(column, &by_column);
  std::vector<double> b(rounds, 1.0);
  SolveBuffers(matrix, &b);
  std::vector<double> twice = b;
  SolveBuffers(matrix, &twice);
  std::vector<double> shared;
  const double error = objective.SquaredError(b, &shared);
  const double loss = std::sqrt(sensitivity * error);
  std::vector<double> by_weight(buffers);
  double mean = 0;
  for (size_t j = 0; j < buffers; ++j) {
    const double decay = matrix.decays[j];
    // Column t by the weight and, without the weight, by the decay; the same
    // of B, which takes sums over all rounds before.
    double power = 1;
    double slope = 0;
    double held = 0;
    double held_twice = 0;
    double by_decay = 0;
    for (size_t t = 1; t < rounds; ++t) {
      held_twice = decay * held_twice + held;
      held = decay * held + twice[t - 1];
      const double half = 0.5 * by_column[t] / sensitivity;
      by_weight[j] += half * power - shared[t] * held / error;
      by_decay += half * slope - shared[t] * held_twice / error;
      slope = decay * slope + power;
      power *= decay;
    }
    gradient[j] = loss * matrix.weights[j] * by_decay * SquashSlope(x[j]);
    mean += matrix.weights[j] * by_weight[j];
  }
  for (size_t j = 0; j < buffers; ++j) {
    gradient[buffers + j] = loss * matrix.weights[j] * (by_weight[j] - mean) *
                            LiftGrowth(x[buffers + j]);
  }
  return loss;
}

// Decays spread over all time scales from one round to `horizon`.
BufferedToeplitz SpreadBuffers(int64_t buffers, double horizon) {
  BufferedToeplitz matrix;
  double sum = 0;
  for (int64_t j = 0; j < buffers; ++j) {
    const double gap = 1 / Power(horizon, (static_cast<double>(j) + 0.5) /
                                              static_cast<double>(buffers));
    matrix.decays.push_back(1 - 0.7 * gap);
    matrix.weights.push_back(std::sqrt(gap));
    sum += matrix.weights.back();
  }
  for (double& weight : matrix.weights) weight *= 0.5 / sum;
  return matrix;
}

// One buffer more, of little weight and the decay that suits `horizon`.
BufferedToeplitz WithOneMore(BufferedToeplitz matrix, double horizon) {
  for (double& weight : matrix.weights) weight *= 1 - kTriedShare;
  matrix.decays.push_back(1 - 0.5 / std::sqrt(horizon));
  matrix.weights.push_back(kTriedShare / 2);
  return matrix;
}

// Without the buffers that hardly weigh anything, save one.
BufferedToeplitz Weighty(const BufferedToeplitz& matrix) {
  const double heaviest =
      *std::max_element(matrix.weights.begin(), matrix.weights.end());
  BufferedToeplitz left;
  for (size_t j = 0; j < matrix.decays.size(); ++j) {
    const double weight = matrix.weights[j];
    if (weight < std::min(kLeastWeight, heaviest)) continue;
    left.decays.push_back(matrix.decays[j]);
    left.weights.push_back(std::max(weight, kLeastWeight));
  }
  return left;
}

absl::Status CheckSize(std::string_view what, int64_t count, int64_t most,
                       int64_t rounds, int64_t most_products) {
  if (count < 1 || count > most) {
    return absl::InvalidArgumentError(
        StrCat(what, " ", count, ": it must be between 1 and ", most));
  }
  if (count * rounds > most_products) {
    return absl::InvalidArgumentError(
        StrCat(count, " ", what, " over ", rounds,
               " rounds are too many to optimise; at most ",
               most_products / rounds, " are not"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BandedToeplitz> OptimizeBands(const ParticipationLimits& limits,
                                             int64_t bands,
                                             ErrorMeasure measure) {
  MLEDGE_RETURN_IF_ERROR(ValidateParticipationLimits(limits));
  MLEDGE_RETURN_IF_ERROR(CheckSize("bands", bands, limits.rounds, limits.rounds,
                                   kMostBandProducts));
  const Objective objective(limits, measure);
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<double> root,
                          SquareRootCoefficients(bands));
  std::vector<double> start;
  for (size_t i = 1; i < root.size(); ++i) {
    start.push_back(Unsquash(root[i] / root[i - 1]));
  }
  const Minimum minimum = Minimize(
      [&](std::span<const double> u, std::span<double> gradient) {
        return BandLoss(objective, u, gradient);
      },
      std::move(start));
  return BandedToeplitz{BandsOf(minimum.x)};
}

absl::StatusOr<BufferedToeplitz> OptimizeBuffers(
    const ParticipationLimits& limits, int64_t buffers, ErrorMeasure measure) {
  MLEDGE_RETURN_IF_ERROR(ValidateParticipationLimits(limits));
  MLEDGE_RETURN_IF_ERROR(CheckSize("buffers", buffers, kMaximumBuffers,
                                   limits.rounds, kMostBufferProducts));
  const Objective objective(limits, measure);
  const auto loss = [&](std::span<const double> x, std::span<double> gradient) {
    return BufferLoss(objective, x, gradient);
  };
  // At least two, or there would be no time scales.
  const double horizon = std::max(2.0, static_cast<double>(limits.rounds));
  BufferedToeplitz best;
  double lowest = std::numeric_limits<double>::infinity();
  const auto consider = [&](const BufferedToeplitz& start) {
    const BufferedToeplitz found =
        Weighty(BuffersOf(Minimize(loss, VariablesOf(start)).x));
    std::vector<double> unused(2 * found.decays.size());
    const double value = loss(VariablesOf(found), unused);
    if (value < lowest && Validate(found).ok()) {
      best = found;
      lowest = value;
    }
  };
  for (int64_t count = 1; count <= buffers; ++count) {
    std::vector<BufferedToeplitz> starts = {SpreadBuffers(count, horizon)};
    if (count > 1) starts.push_back(WithOneMore(best, horizon));
    for (const BufferedToeplitz& start : starts) consider(start);
  }
  return best;
}

}  // namespace mledge
