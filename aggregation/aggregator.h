#ifndef MLEDGE_AGGREGATION_AGGREGATOR_H_
#define MLEDGE_AGGREGATION_AGGREGATOR_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/aggregation/update_file.h"
#include "mledge/core/executor.h"

// The weighted sum of a round's updates in integers (fixed_point.h): any order,
// grouping, split over threads or machines, and any point of a restart give the
// same bits. What comes next is server_optimizer.h, which turns the sum into a
// new version.

namespace mledge {

// What updates of a round must look like.
struct AggregationSpec {
  struct Section {
    std::string name;
    int64_t elements = 0;  // ≥ 0

    bool operator==(const Section&) const = default;
  };
  std::vector<Section> sections;  // an evaluation has none
  // Every update carries exactly these. An id each, no two the same.
  std::vector<std::string> scalars;
  double value_bound = 0;       // see FixedPointBounds
  int64_t weight_bound = 0;     // see FixedPointBounds
  int64_t maximum_updates = 0;  // see FixedPointBounds

  bool operator==(const AggregationSpec&) const = default;
};

// Spec of federated averaging: one section "delta" of `shared_size` values, and
// the three scalars that every update carries (core/update.h). With uniform
// weighting the weight is always 1, which buys precision.
AggregationSpec TrainingAggregationSpec(int64_t shared_size, double value_bound,
                                        int64_t weight_bound, bool uniform,
                                        int64_t maximum_updates);
// Spec of an evaluation: the three scalars only; the weight is free between 1
// and `weight_bound` and plays no part.
AggregationSpec EvaluationAggregationSpec(int64_t weight_bound,
                                          int64_t maximum_updates);

// What is known of a sum: integers, scale, weights and count. To read a scalar
// or a mean, use the methods, which know the scales.
struct AggregationSum {
  struct Section {
    std::string name;
    std::vector<int64_t> integers;  // Σ w · round(x · 2^fraction_bits)

    bool operator==(const Section&) const = default;
  };
  struct ScalarSum {
    std::string name;
    int64_t integer = 0;  // Σ round(value · 2^kScalarFractionBits)

    bool operator==(const ScalarSum&) const = default;
  };
  std::vector<Section> sections;
  std::vector<ScalarSum> scalars;
  int fraction_bits = 0;
  int64_t weight_sum = 0;
  int64_t count = 0;  // updates in the sum
  // What means are multiplied by: 1, or the norm that the updates of a private
  // task were divided by. No part of a checkpoint.
  double unit = 1;

  bool operator==(const AggregationSum&) const = default;
  const Section* FindSection(std::string_view name) const;
  // Sum of the scalar over all updates; 0 where it is absent.
  double Scalar(std::string_view name) const;
};

// Weighted mean of a section, formed in double and rounded once to float32:
// integer · unit / (weight_sum · 2^f). INVALID_ARGUMENT: no such section, or
// `out` of another size. FAILED_PRECONDITION: the sum is empty.
absl::Status Mean(const AggregationSum& sum, std::string_view section,
                  std::span<float> out, ThreadPool* pool = nullptr);

// One sum under way. Order of calls: Validate each update before its first
// Fold; Fold, Merge and Restore in any order; not thread-safe (Fold is parallel
// inside), except that Validate may run in any number of threads at any time.
class Aggregator {
 public:
  // INVALID_ARGUMENT: a bound out of range or too wide (FractionBits), a name
  // that is no id or appears twice, a negative size.
  static absl::StatusOr<std::unique_ptr<Aggregator>> Create(
      AggregationSpec spec);

  // One read pass. INVALID_ARGUMENT, naming section and position, or the
  // scalar: missing, unknown or wrongly sized section; missing or unknown
  // scalar; weight not in 1 … weight_bound; a value or scalar that is a NaN, an
  // infinity or outside its bound.
  absl::Status Validate(const UpdateView& update) const;

  // Adds updates that passed Validate: their values are not checked again (a
  // value outside would give a wrong sum, never undefined behaviour). Several
  // at a time are cheaper: the accumulator is then read and written once for
  // all of them. All are added or none.
  // INVALID_ARGUMENT: the shape of an update is wrong. FAILED_PRECONDITION:
  // more updates than maximum_updates.
  absl::Status Fold(std::span<const UpdateView* const> updates,
                    ThreadPool* pool = nullptr);

  // Adds another sum over the same spec. INVALID_ARGUMENT: other sections,
  // scalars or scale. FAILED_PRECONDITION: as Fold.
  absl::Status Merge(const AggregationSum& other);

  const AggregationSum& sum() const { return sum_; }
  const AggregationSpec& spec() const { return spec_; }

  // The sum as bytes that end with their SHA-256, for checkpoints.
  std::string Serialize() const;
  // Replaces the sum. DATA_LOSS: bytes that are damaged, no checkpoint, or of a
  // sum that cannot be.
  // FAILED_PRECONDITION: a checkpoint of another spec. On error the sum stays.
  absl::Status Restore(std::string_view bytes);

 private:
  Aggregator(AggregationSpec spec, int fraction_bits);
  absl::Status CheckShape(const UpdateView& update) const;
  absl::Status CheckTotals(int64_t count, int64_t weight_sum,
                           std::span<const int64_t> scalars) const;
  Digest SpecFingerprint() const;

  const AggregationSpec spec_;
  AggregationSum sum_;
};

}  // namespace mledge

#endif  // MLEDGE_AGGREGATION_AGGREGATOR_H_
