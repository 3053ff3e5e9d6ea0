// The device's integer stages as they ship (clip, conditional rounding, noise,
// modulus) against their claims, and mechanisms that are broken on purpose,
// which must be caught. Fixed seeds; a false alarm in 10^6 for each call of the
// falsifier. What a pass does not prove: see falsifier.h.

#include "mledge/tests/privacy/falsifier.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "mledge/privacy/accounting/analytic_gaussian.h"
#include "mledge/privacy/clipping.h"
#include "mledge/privacy/grid_rounding.h"
#include "mledge/privacy/noise/discrete_gaussian.h"
#include "mledge/privacy/noise/skellam.h"
#include "mledge/tests/privacy/noise/claims.h"
#include "mledge/tests/privacy/test_secret_random.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

constexpr size_t kSize = 32;
constexpr double kClipNorm = 1;
// A clip of 4 grid units, where rounding matters, and of 32, where the claim is
// close to the truth.
constexpr int kCoarse = 2;
constexpr int kFine = 5;
constexpr int32_t kModulus = 1 << 10;

enum class Fault { kNone, kNoClip, kRoundsAwayFromZero, kLargerGrid };

GridSensitivity SensitivityAt(int fraction_bits) {
  return *SensitivityAfterRounding(std::ldexp(kClipNorm, fraction_bits), kSize,
                                   GridRounding::kConditional);
}

// Noise of `sources` devices, each drawn by `noise`.
template <typename Sampler>
BatchMechanism PipelineOf(const Sampler& noise, int sources,
                          SecretRandom& random, Fault fault = Fault::kNone,
                          int fraction_bits = kCoarse) {
  const double grid_clip = std::ldexp(kClipNorm, fraction_bits);
  const GridSensitivity sensitivity = SensitivityAt(fraction_bits);
  return [=, &random](std::span<const float> update, int64_t runs,
                      std::vector<int32_t>* out) {
    std::vector<float> clipped(update.begin(), update.end());
    const std::array<std::span<float>, 1> spans = {clipped};
    if (fault != Fault::kNoClip) {
      ASSERT_THAT(ClipL2(spans, kClipNorm), IsOk());
    }
    std::vector<int32_t> q(kSize);
    for (int64_t run = 0; run < runs; ++run) {
      if (fault == Fault::kNone) {
        ASSERT_THAT(RoundToGrid(clipped, fraction_bits, grid_clip, sensitivity,
                                random, q),
                    IsOk());
      } else {
        for (size_t i = 0; i < kSize; ++i) {
          const double scaled = std::ldexp(double{clipped[i]}, fraction_bits);
          q[i] = static_cast<int32_t>(
              fault == Fault::kRoundsAwayFromZero
                  ? std::copysign(std::ceil(std::abs(scaled)), scaled)
                  : std::nearbyint(scaled));
        }
      }
      if (fault == Fault::kLargerGrid) {
        for (int32_t& value : q) value *= 2;
      }
      out->insert(out->end(), q.begin(), q.end());
    }
    std::vector<int32_t> drawn(static_cast<size_t>(runs) * kSize);
    const size_t begin = out->size() - drawn.size();
    for (int source = 0; source < sources; ++source) {
      noise.Fill(random, drawn);
      for (size_t i = 0; i < drawn.size(); ++i) (*out)[begin + i] += drawn[i];
    }
    for (size_t i = begin; i < out->size(); ++i) {
      const int32_t residue = (*out)[i] & (kModulus - 1);
      (*out)[i] = residue < kModulus / 2 ? residue : residue - kModulus;
    }
  };
}

class FalsifierTest : public ::testing::Test {
 protected:
  std::optional<Violation> Try(const BatchMechanism& mechanism,
                               const std::function<double(double)>& claim) {
    return Falsify(
        mechanism,
        ExtremeUpdates(kSize, kClipNorm, std::ldexp(1.0, -kCoarse), seed_),
        claim, {});
  }
  void ExpectNothing(const std::optional<Violation>& violation) {
    if (!violation.has_value()) return;
    ADD_FAILURE() << violation->update << ", by " << violation->score
                  << ": at epsilon " << violation->epsilon << " delta is "
                  << violation->least_delta << " at least, claimed was "
                  << violation->claimed_delta;
  }
  double l2() const { return sensitivity_.l2; }

  const uint64_t seed_ = TestSeed(31);
  const ::testing::ScopedTrace trace_ = TraceSeed(seed_);
  TestSecretRandom random_{seed_};
  const GridSensitivity sensitivity_ = SensitivityAt(kCoarse);
  // Central noise as large as the sensitivity, with the exact δ of continuous
  // Gaussians.
  const double variance_ = VarianceOf(1.5 * sensitivity_.l2);
  const std::function<double(double)> claim_ = [this](double epsilon) {
    return *GaussianDelta(
        std::sqrt(variance_ - DiscreteGaussian::kContinuousMargin) / l2(),
        epsilon);
  };
};

TEST_F(FalsifierTest, FindsNothingAgainstCentralNoise) {
  ExpectNothing(Try(
      PipelineOf(*DiscreteGaussian::Create(variance_), 1, random_), claim_));
}

TEST_F(FalsifierTest, FindsNothingAgainstDistributedDiscreteGaussians) {
  constexpr int kDevices = 5;
  const double local = variance_ / kDevices;
  const DistributedDiscreteGaussianClaim claim(sensitivity_, local, kDevices,
                                               kSize);
  ExpectNothing(
      Try(PipelineOf(*DiscreteGaussian::Create(local), kDevices, random_),
          [&](double epsilon) { return claim.DeltaAt(epsilon); }));
}

TEST_F(FalsifierTest, FindsNothingAgainstSkellam) {
  constexpr int kDevices = 5;
  const SkellamClaim claim(sensitivity_, variance_);
  ExpectNothing(
      Try(PipelineOf(*Skellam::Create(variance_ / kDevices), kDevices, random_),
          [&](double epsilon) { return claim.DeltaAt(epsilon); }));
}

TEST_F(FalsifierTest, CatchesHalfTheNoise) {
  EXPECT_TRUE(
      Try(PipelineOf(*DiscreteGaussian::Create(variance_ / 4), 1, random_),
          claim_)
          .has_value());
}

// Pitfall 8: noise was planned for five devices, and three dropped out or lie.
TEST_F(FalsifierTest, CatchesNoiseOfTooFewSurvivors) {
  constexpr int kPlanned = 5;
  const GridSensitivity sensitivity = SensitivityAt(kFine);
  const double local = VarianceOf(1.5 * sensitivity.l2) / kPlanned;
  const DistributedDiscreteGaussianClaim claim(sensitivity, local, kPlanned,
                                               kSize);
  const auto delta = [&](double epsilon) { return claim.DeltaAt(epsilon); };
  const DiscreteGaussian noise = *DiscreteGaussian::Create(local);
  ExpectNothing(
      Try(PipelineOf(noise, kPlanned, random_, Fault::kNone, kFine), delta));
  EXPECT_TRUE(
      Try(PipelineOf(noise, kPlanned - 3, random_, Fault::kNone, kFine), delta)
          .has_value());
}

// Pitfall 7: no bound on the norm after rounding.
TEST_F(FalsifierTest, CatchesRoundingWithoutABoundOnTheNorm) {
  const auto violation =
      Try(PipelineOf(*DiscreteGaussian::Create(variance_ / 3), 1, random_,
                     Fault::kRoundsAwayFromZero),
          [&](double epsilon) {
            return *GaussianDelta(
                std::sqrt(variance_ / 3 - DiscreteGaussian::kContinuousMargin) /
                    std::ldexp(kClipNorm, kCoarse),
                epsilon);
          });
  ASSERT_TRUE(violation.has_value());
}

TEST_F(FalsifierTest, CatchesAMissingClip) {
  const auto violation = Try(PipelineOf(*DiscreteGaussian::Create(variance_), 1,
                                        random_, Fault::kNoClip),
                             claim_);
  ASSERT_TRUE(violation.has_value());
  EXPECT_EQ(violation->update, "far above the clip");
}

TEST_F(FalsifierTest, CatchesAScaleThatIsTwiceTheOneDeclared) {
  EXPECT_TRUE(Try(PipelineOf(*DiscreteGaussian::Create(variance_), 1, random_,
                             Fault::kLargerGrid),
                  claim_)
                  .has_value());
}

// Pitfall 10: a seed that is used again makes noise that cancels.
TEST_F(FalsifierTest, CatchesASeedThatIsUsedAgain) {
  const DiscreteGaussian noise = *DiscreteGaussian::Create(variance_);
  const BatchMechanism broken = [&](std::span<const float> update, int64_t runs,
                                    std::vector<int32_t>* out) {
    for (int64_t run = 0; run < runs; ++run) {
      TestSecretRandom same(7);
      std::vector<int32_t> drawn(kSize);
      noise.Fill(same, drawn);
      for (size_t i = 0; i < kSize; ++i) {
        out->push_back(drawn[i] +
                       static_cast<int32_t>(std::ldexp(update[i], 2)));
      }
    }
  };
  FalsifierOptions few = {.runs = 200};
  EXPECT_TRUE(Falsify(broken,
                      ExtremeUpdates(kSize, kClipNorm,
                                     std::ldexp(1.0, -kCoarse), seed_),
                      claim_, few)
                  .has_value());
}

}  // namespace
}  // namespace mledge
