#ifndef MLEDGE_AGGREGATION_SECAGG_QUANTIZER_H_
#define MLEDGE_AGGREGATION_SECAGG_QUANTIZER_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/aggregation/secagg/modular.h"
#include "mledge/core/secret_random.h"

// From float32 updates to the integers that are masked and added, and back from
// their sum: q = w · round(x · s). A tensor has a public bound C and b' bits:
// x is clipped to [−C, C], L = 2^(b'−1) − 1, s = L / C, and rounding is
// stochastic (up with the fractional part as probability), so that it is
// right on average, to 2^-25 of a step. Integers come back exactly where s is
// an integer too: for counts take C = L / m. w is an integer; whoever needs
// fractional weights counts them in units of 1/256. Devices use the same
// scales, else their integers would not add.
//
// Exact contract: n · w_max · (2^b' − 1) < 2^b, so no sum of n updates can
// wrap; anything else is refused here, on both sides. Probabilistic contract:
// for noise without a bound, added before masking; the sum may wrap with the
// probability that Create computes, reports and bounds.
//
// Values, immutable after Create; const access from several threads is safe.

namespace mledge::secagg {

enum class RangeContract { kExact, kProbabilistic };

// A stretch of the vector with one scale: a tensor, a chunk of a rotation, or
// one scalar coordinate.
struct QuantizedRange {
  std::string name;  // for messages: "fc1.weight", "loss_sum"
  int64_t size = 0;  // coordinates; ≥ 1
  double bound = 0;  // C > 0, finite
  int bits = 16;     // b', 2 … 24
  // False for scalars that are sums already (examples, loss): w is 1 for them
  // whatever the update's weight is.
  bool weighted = true;
};

struct QuantizerOptions {
  Modulus modulus;                     // 2^b
  std::vector<QuantizedRange> ranges;  // in the order of the vector
  int64_t maximum_updates = 0;         // n ≥ 1
  int64_t maximum_weight = 1;  // w_max ≥ 1, in the units that Quantize takes
  RangeContract contract = RangeContract::kExact;
  // Probabilistic contract only: standard deviation, in integer units, of all
  // noise in one coordinate of the sum; and the largest probability that any
  // coordinate wraps.
  double noise_standard_deviation = 0;
  double maximum_wrap_probability = 0;
};

class Quantizer {
 public:
  // INVALID_ARGUMENT: a field out of its range; the message names the range.
  // FAILED_PRECONDITION: the contract does not hold; it says for which range,
  // and how many bits, weight or updates would fit.
  static absl::StatusOr<Quantizer> Create(QuantizerOptions options);

  int64_t size() const { return size_; }
  const QuantizerOptions& options() const { return options_; }
  // s of a range. Precondition: range < options().ranges.size().
  double scale(size_t range) const { return scales_[range]; }
  // Zero for the exact contract.
  double wrap_probability() const { return wrap_probability_; }

  // Writes the residues of one update. INVALID_ARGUMENT: values.size() ≠
  // size(), a NaN or infinity (named with its range and position), weight
  // outside 1 … maximum_weight, `out` of another modulus or size.
  absl::Status Quantize(std::span<const float> values, int64_t weight,
                        SecretRandom& random, ModularVector* out) const;

  // Of a sum of updates: Σ w · x, coordinate by coordinate. INVALID_ARGUMENT:
  // other sizes or another modulus.
  absl::Status DequantizeSum(const ModularVector& sum,
                             std::span<double> out) const;

 private:
  explicit Quantizer(QuantizerOptions options);
  absl::Status CheckInput(std::span<const float> values, int64_t weight,
                          const ModularVector& out) const;

  QuantizerOptions options_;
  std::vector<double> scales_;
  int64_t size_ = 0;
  double wrap_probability_ = 0;
};

// The most bits b' that the exact contract leaves; 0 when not even 2 fit.
int MostExactBits(Modulus modulus, int64_t maximum_updates,
                  int64_t maximum_weight);

// Probability, at most, that one of `coordinates` sums leaves −2^(b−1) …
// 2^(b−1) − 1 when each is at most `magnitude` plus Gaussian noise of that
// deviation (union bound over coordinates, twice the upper tail).
double WrapProbability(Modulus modulus, double magnitude,
                       double noise_standard_deviation, int64_t coordinates);

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_QUANTIZER_H_
