#ifndef MLEDGE_AGGREGATION_SECAGG_UPDATE_CODEC_H_
#define MLEDGE_AGGREGATION_SECAGG_UPDATE_CODEC_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/aggregation/aggregator.h"
#include "mledge/aggregation/secagg/modular.h"
#include "mledge/aggregation/secagg/offer.h"
#include "mledge/aggregation/secagg/quantizer.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/update.h"

// From a training update to the vectors that a session masks and adds, and from
// their sum to the sum that the plain aggregator would hold. What follows from
// the task is worked out here, on both sides: the device encodes, the
// coordinator decodes.
//
//   section 0: the update's values, w · round(x · s)
//   section 1: examples, loss_sum, metric_sum, weight, each round(x · s')
//
// An evaluation has no values and no weight: its one section is examples,
// loss_sum and metric_sum.
//
// Every s is a power of two, so a sum is the plain aggregator's integer but for
// a shift, and counts that fit their bits are exact. Bits and modulus keep the
// exact contract (quantizer.h): no sum of maximum_updates can wrap. Values,
// immutable after Create; const access from several threads is safe.
//
// Updates of private tasks come on a grid, noise included
// (privacy/plan/private_task.h), and are taken as they are: nothing is rounded
// or clipped, and how likely a sum is to wrap is for the privacy plan to bound.

namespace mledge::secagg {

struct ValueGrid {
  int fraction_bits = 0;  // every value is a multiple of 2^-fraction_bits
  int modulus_bits = 0;   // of the sum

  bool operator==(const ValueGrid&) const = default;
};

struct UpdateCodecOptions {
  int64_t shared_size = 0;      // values of the update; 0: an evaluation
  double value_bound = 0;       // > 0; larger magnitudes are clipped
  int64_t weight_bound = 1;     // largest number of examples
  bool uniform_weight = false;  // every update counts once
  int64_t maximum_updates = 0;  // in one sum
  int value_bits = 0;           // 0: as many as fit, at most 24
  // Then uniform_weight, and neither value_bits nor clipping.
  std::optional<ValueGrid> grid;
  // Updates carry kClipBitScalar as well.
  bool clip_bit = false;

  bool is_evaluation() const { return shared_size == 0; }
  bool operator==(const UpdateCodecOptions&) const = default;
};

class UpdateCodec {
 public:
  // A device whose mean loss (or squared error) is larger reports this.
  static constexpr double kLargestMeanLoss = 16;
  // With fewer bits a value is little more than its sign.
  static constexpr int kFewestValueBits = 6;

  // INVALID_ARGUMENT: a number out of its range. FAILED_PRECONDITION: sums of
  // 32 bits have no room for so many updates of such weights; says what would
  // fit.
  static absl::StatusOr<UpdateCodec> Create(const UpdateCodecOptions& options);

  const UpdateCodecOptions& options() const { return options_; }
  // As an offer announces them.
  std::vector<OfferSection> sections() const;
  // Rounding moves a value by less than this.
  double value_step() const;

  // INVALID_ARGUMENT: another section or other scalars than such an update
  // has, a NaN or infinity, a value off the grid. OUT_OF_RANGE: more examples
  // than weight_bound.
  absl::StatusOr<std::vector<ModularVector>> Encode(const Update& update,
                                                    SecretRandom& random) const;

  // `count`: updates in the sum. INVALID_ARGUMENT: other sections than
  // Encode's; a sum that no updates within the bounds can have.
  absl::StatusOr<AggregationSum> Decode(std::span<const ModularVector> sum,
                                        int64_t count) const;

 private:
  UpdateCodec(const UpdateCodecOptions& options, int fraction_bits,
              int value_fraction_bits, Modulus value_modulus,
              std::optional<Quantizer> values, Quantizer scalars)
      : options_(options),
        fraction_bits_(fraction_bits),
        value_fraction_bits_(value_fraction_bits),
        value_modulus_(value_modulus),
        values_(std::move(values)),
        scalars_(std::move(scalars)) {}
  absl::StatusOr<ModularVector> EncodeValues(std::span<const float> values,
                                             int64_t weight,
                                             SecretRandom& random) const;

  UpdateCodecOptions options_;
  int fraction_bits_;        // of the plain aggregator
  int value_fraction_bits_;  // of one value's integer
  Modulus value_modulus_;
  std::optional<Quantizer> values_;  // absent: on the grid, or no values
  Quantizer scalars_;
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_UPDATE_CODEC_H_
