#include "mledge/privacy/matrix/strategy_matrix.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/matrix/sensitivity.h"
#include "mledge/privacy/matrix/tree.h"

namespace mledge {
namespace {

constexpr double kLargestNoiseMultiplier = 1e9;

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

absl::StatusOr<PrefixSumError> ErrorOf(const StrategyMatrix& strategy,
                                       int64_t rounds) {
  return std::visit(
      Overloaded{
          [&](const TreeAggregation&) { return TreePrefixSumError(rounds); },
          [&](const auto& matrix) -> absl::StatusOr<PrefixSumError> {
            MLEDGE_ASSIGN_OR_RETURN(const std::vector<double> inverse,
                                    InverseCoefficients(matrix, rounds));
            return ToeplitzPrefixSumError(inverse);
          }},
      strategy);
}

}  // namespace

StrategyMatrix IndependentNoise() { return BandedToeplitz{{1.0}}; }

absl::Status ValidateStrategy(const StrategyMatrix& strategy) {
  return std::visit(
      Overloaded{
          [](const TreeAggregation&) { return absl::OkStatus(); },
          [](const BandedToeplitz& matrix) {
            return ValidateCoefficients(matrix.coefficients);
          },
          [](const BufferedToeplitz& matrix) { return Validate(matrix); }},
      strategy);
}

std::string DescribeStrategy(const StrategyMatrix& strategy) {
  return std::visit(
      Overloaded{[](const TreeAggregation&) -> std::string {
                   return "tree aggregation";
                 },
                 [](const BandedToeplitz& matrix) -> std::string {
                   const size_t bands = matrix.coefficients.size();
                   return bands == 1 ? "independent noise"
                                     : StrCat(bands, " bands");
                 },
                 [](const BufferedToeplitz& matrix) -> std::string {
                   return StrCat(matrix.decays.size(), " buffers");
                 }},
      strategy);
}

absl::StatusOr<double> Sensitivity(const StrategyMatrix& strategy,
                                   const ParticipationLimits& limits) {
  MLEDGE_RETURN_IF_ERROR(ValidateParticipationLimits(limits));
  return std::visit(
      Overloaded{
          [&](const TreeAggregation&) { return TreeSensitivity(limits); },
          [&](const auto& matrix) -> absl::StatusOr<double> {
            MLEDGE_ASSIGN_OR_RETURN(const std::vector<double> coefficients,
                                    Coefficients(matrix, limits.rounds));
            return ToeplitzSensitivity(coefficients, limits);
          }},
      strategy);
}

absl::StatusOr<double> EquivalentNoiseMultiplier(
    const StrategyMatrix& strategy, const ParticipationLimits& limits,
    double noise_multiplier) {
  if (!(noise_multiplier > 0 && noise_multiplier <= kLargestNoiseMultiplier)) {
    return absl::InvalidArgumentError(StrCat(
        "noise_multiplier ", noise_multiplier,
        ": it must be greater than 0 and at most ", kLargestNoiseMultiplier));
  }
  MLEDGE_ASSIGN_OR_RETURN(const double sensitivity,
                          Sensitivity(strategy, limits));
  return noise_multiplier / sensitivity * (1 - 0x1p-52);
}

absl::StatusOr<PrefixSumError> ErrorPerUnitNoise(
    const StrategyMatrix& strategy, const ParticipationLimits& limits) {
  MLEDGE_ASSIGN_OR_RETURN(const double sensitivity,
                          Sensitivity(strategy, limits));
  MLEDGE_ASSIGN_OR_RETURN(PrefixSumError error,
                          ErrorOf(strategy, limits.rounds));
  error.maximum *= sensitivity;
  error.root_mean_square *= sensitivity;
  return error;
}

absl::StatusOr<int64_t> VectorsOfMemory(const StrategyMatrix& strategy,
                                        int64_t rounds) {
  MLEDGE_RETURN_IF_ERROR(ValidateStrategy(strategy));
  MLEDGE_ASSIGN_OR_RETURN(const int64_t height, TreeHeight(rounds));
  return std::visit(
      Overloaded{[&](const TreeAggregation&) { return height - 1; },
                 [&](const BandedToeplitz& matrix) {
                   const auto bands =
                       static_cast<int64_t>(matrix.coefficients.size());
                   return std::min(bands, rounds) - 1;
                 },
                 [](const BufferedToeplitz& matrix) {
                   return static_cast<int64_t>(matrix.decays.size());
                 }},
      strategy);
}

}  // namespace mledge
