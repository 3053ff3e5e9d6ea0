#include "mledge/privacy/matrix/toeplitz.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/matrix/participation.h"

namespace mledge {
namespace {

// Seconds of work.
constexpr int64_t kMostProducts = int64_t{1} << 34;

absl::Status CheckRounds(int64_t rounds) {
  if (rounds >= 1 && rounds <= kMaximumRounds) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat("rounds ", rounds, ": must be between 1 and ", kMaximumRounds));
}

}  // namespace

absl::StatusOr<std::vector<double>> SquareRootCoefficients(int64_t count) {
  MLEDGE_RETURN_IF_ERROR(Annotate(CheckRounds(count), "coefficients"));
  std::vector<double> coefficients(static_cast<size_t>(count));
  coefficients[0] = 1;
  for (size_t k = 1; k < coefficients.size(); ++k) {
    const double twice = 2.0 * static_cast<double>(k);
    coefficients[k] = coefficients[k - 1] * ((twice - 1) / twice);
  }
  return coefficients;
}

absl::Status ValidateCoefficients(std::span<const double> coefficients) {
  if (coefficients.empty() ||
      coefficients.size() > static_cast<size_t>(kMaximumRounds)) {
    return absl::InvalidArgumentError(
        StrCat(coefficients.size(),
               " coefficients: there must be between 1 and ", kMaximumRounds));
  }
  if (coefficients[0] != 1) {
    return absl::InvalidArgumentError(
        StrCat("coefficient 0 is ", coefficients[0],
               ": it must be 1; divide all of them by it"));
  }
  for (size_t i = 1; i < coefficients.size(); ++i) {
    if (!std::isfinite(coefficients[i])) {
      return absl::InvalidArgumentError(StrCat(
          "coefficient ", i, " is ", coefficients[i], ": it must be finite"));
    }
    if (coefficients[i] < 0) {
      return absl::InvalidArgumentError(
          StrCat("coefficient ", i, " is ", coefficients[i],
                 ": sensitivity is known for coefficients that are not "
                 "negative only"));
    }
    if (coefficients[i] > coefficients[i - 1]) {
      return absl::InvalidArgumentError(
          StrCat("coefficient ", i, " is ", coefficients[i],
                 ", larger than the one before, ", coefficients[i - 1],
                 ": sensitivity is known for coefficients that do not "
                 "increase only"));
    }
  }
  return absl::OkStatus();
}

absl::Status Validate(const BufferedToeplitz& matrix) {
  const size_t buffers = matrix.decays.size();
  if (buffers < 1 || buffers > static_cast<size_t>(kMaximumBuffers) ||
      matrix.weights.size() != buffers) {
    return absl::InvalidArgumentError(
        StrCat(buffers, " decays and ", matrix.weights.size(),
               " weights of buffers: there must be as many of both, between 1 "
               "and ",
               kMaximumBuffers));
  }
  double sum = 0;
  for (size_t j = 0; j < buffers; ++j) {
    if (!(matrix.decays[j] > 0 && matrix.decays[j] < 1)) {
      return absl::InvalidArgumentError(
          StrCat("decay of buffer ", j, " is ", matrix.decays[j],
                 ": it must lie between 0 and 1, exclusively"));
    }
    if (!(matrix.weights[j] > 0 && matrix.weights[j] <= 1)) {
      return absl::InvalidArgumentError(
          StrCat("weight of buffer ", j, " is ", matrix.weights[j],
                 ": it must be greater than 0 and at most 1"));
    }
    sum += matrix.weights[j];
  }
  if (sum > 1) {
    return absl::InvalidArgumentError(
        StrCat("weights of buffers sum to ", sum,
               ": at most 1, or coefficients would increase"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<double>> Coefficients(const BandedToeplitz& matrix,
                                                 int64_t rounds) {
  MLEDGE_RETURN_IF_ERROR(ValidateCoefficients(matrix.coefficients));
  MLEDGE_RETURN_IF_ERROR(CheckRounds(rounds));
  std::vector<double> coefficients = matrix.coefficients;
  coefficients.resize(static_cast<size_t>(rounds));
  return coefficients;
}

absl::StatusOr<std::vector<double>> Coefficients(const BufferedToeplitz& matrix,
                                                 int64_t rounds) {
  MLEDGE_RETURN_IF_ERROR(Validate(matrix));
  MLEDGE_RETURN_IF_ERROR(CheckRounds(rounds));
  std::vector<double> coefficients(static_cast<size_t>(rounds));
  coefficients[0] = 1;
  std::vector<double> powers = matrix.weights;
  for (size_t i = 1; i < coefficients.size(); ++i) {
    double sum = 0;
    for (size_t j = 0; j < powers.size(); ++j) {
      sum += powers[j];
      powers[j] *= matrix.decays[j];
    }
    // Sums of weights rounded to double may exceed their true sum.
    coefficients[i] = std::min(sum, coefficients[i - 1]);
  }
  return coefficients;
}

absl::StatusOr<std::vector<double>> InverseCoefficients(
    const BandedToeplitz& matrix, int64_t rounds) {
  MLEDGE_RETURN_IF_ERROR(ValidateCoefficients(matrix.coefficients));
  MLEDGE_RETURN_IF_ERROR(CheckRounds(rounds));
  const std::vector<double>& c = matrix.coefficients;
  const auto bands = static_cast<int64_t>(c.size());
  if (std::min(bands, rounds) * rounds > kMostProducts) {
    return absl::InvalidArgumentError(
        StrCat(bands, " bands over ", rounds,
               " rounds: too many to invert; use fewer bands or buffers"));
  }
  std::vector<double> inverse(static_cast<size_t>(rounds));
  inverse[0] = 1;
  for (size_t t = 1; t < inverse.size(); ++t) {
    double sum = 0;
    for (size_t i = 1; i <= t && i < c.size(); ++i)
      sum += c[i] * inverse[t - i];
    inverse[t] = -sum;
  }
  return inverse;
}

absl::StatusOr<std::vector<double>> InverseCoefficients(
    const BufferedToeplitz& matrix, int64_t rounds) {
  MLEDGE_RETURN_IF_ERROR(Validate(matrix));
  MLEDGE_RETURN_IF_ERROR(CheckRounds(rounds));
  std::vector<double> inverse(static_cast<size_t>(rounds));
  // buffers[j] = Σ_{i≥1} decays[j]^(i−1)·inverse[t−i].
  std::vector<double> buffers(matrix.decays.size());
  for (size_t t = 0; t < inverse.size(); ++t) {
    double value = t == 0 ? 1 : 0;
    for (size_t j = 0; j < buffers.size(); ++j) {
      value -= matrix.weights[j] * buffers[j];
    }
    inverse[t] = value;
    for (size_t j = 0; j < buffers.size(); ++j) {
      buffers[j] = matrix.decays[j] * buffers[j] + value;
    }
  }
  return inverse;
}

}  // namespace mledge
