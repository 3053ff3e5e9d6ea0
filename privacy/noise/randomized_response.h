#ifndef MLEDGE_PRIVACY_NOISE_RANDOMIZED_RESPONSE_H_
#define MLEDGE_PRIVACY_NOISE_RANDOMIZED_RESPONSE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/core/secret_random.h"

// Differential privacy of a single report of a category, against everybody, the
// coordinator included. The epsilon is the report's own; nothing here is
// amplified by how many others report (that would take a proven shuffler). No
// task asks devices for categories: this is for programs that do, with
// RandomizedResponseEvent for the ledger (docs/privacy_accounting.md has an
// example). Immutable after Create; const access from several threads is safe.

namespace mledge {

// k-ary randomised response: the truth with probability e^ε / (e^ε + k − 1),
// else any other category (Kairouz, Oh and Viswanath, "Extremal mechanisms for
// local differential privacy", NeurIPS 2014; Warner 1965 for k = 2).
class RandomizedResponse {
 public:
  static constexpr int64_t kMostCategories = int64_t{1} << 31;

  // INVALID_ARGUMENT: categories not within 2 … 2^31, epsilon not within 10^-6
  // … 30.
  static absl::StatusOr<RandomizedResponse> Create(int64_t categories,
                                                   double epsilon);

  // A multiple of 2^-64, rounded down so far that no ratio of probabilities is
  // above e^ε, whatever 64-bit integers cannot divide evenly.
  double truth_probability() const;

  // Same work whatever is answered. INVALID_ARGUMENT: `truth` not within 0 …
  // categories − 1.
  absl::StatusOr<int64_t> Report(int64_t truth, SecretRandom& random) const;

  // How many of the reporters hold each category, estimated from how many
  // reported it; right on average. INVALID_ARGUMENT: another number of counts,
  // a negative one.
  absl::StatusOr<std::vector<double>> EstimateCounts(
      std::span<const int64_t> reported) const;

 private:
  RandomizedResponse(int64_t categories, uint64_t truth_threshold)
      : categories_(categories), truth_threshold_(truth_threshold) {}

  int64_t categories_;
  uint64_t truth_threshold_;  // of 2^64
};

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_NOISE_RANDOMIZED_RESPONSE_H_
