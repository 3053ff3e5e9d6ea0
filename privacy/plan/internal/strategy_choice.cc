#include "mledge/privacy/plan/internal/strategy_choice.h"

#include "mledge/core/status_macros.h"
#include "mledge/privacy/matrix/optimize.h"
#include "mledge/privacy/matrix/toeplitz.h"

namespace mledge::plan_internal {

absl::StatusOr<StrategyMatrix> ChooseStrategy(
    const v1::CorrelatedNoise& noise, const ParticipationLimits& limits) {
  switch (noise.kind()) {
    case v1::CorrelatedNoise::TREE:
      return TreeAggregation();
    case v1::CorrelatedNoise::SQUARE_ROOT: {
      BandedToeplitz band;
      MLEDGE_ASSIGN_OR_RETURN(band.coefficients,
                              SquareRootCoefficients(noise.bands()));
      return band;
    }
    case v1::CorrelatedNoise::BANDED: {
      MLEDGE_ASSIGN_OR_RETURN(
          BandedToeplitz band,
          OptimizeBands(limits, noise.bands(), ErrorMeasure::kRootMeanSquare));
      return band;
    }
    default: {
      MLEDGE_ASSIGN_OR_RETURN(BufferedToeplitz buffered,
                              OptimizeBuffers(limits, noise.buffers(),
                                              ErrorMeasure::kRootMeanSquare));
      return buffered;
    }
  }
}

}  // namespace mledge::plan_internal
