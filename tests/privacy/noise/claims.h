#ifndef MLEDGE_TESTS_PRIVACY_NOISE_CLAIMS_H_
#define MLEDGE_TESTS_PRIVACY_NOISE_CLAIMS_H_

#include <cstdint>

#include "mledge/privacy/grid_rounding.h"

// What the published theorems claim for integer noise, written down a second
// time, apart from the accountants: what enumeration and falsifier hold the
// pipeline against. All in grid units.

namespace mledge {

// A Rényi differential privacy claim as a function of the order.
class RdpClaim {
 public:
  virtual ~RdpClaim() = default;
  // The bound on the Rényi divergence of that order; infinite where the theorem
  // says nothing.
  virtual double At(double order) const = 0;
  // δ at ε, the least over orders 2 … 128 of (1/a) exp((a − 1)(rdp(a) + ln(1 −
  // 1/a) − ε)) (Canonne, Kamath and Steinke 2020, proposition 12).
  double DeltaAt(double epsilon) const;
};

// One discrete Gaussian: a L2² / 2 σ².
class DiscreteGaussianClaim final : public RdpClaim {
 public:
  DiscreteGaussianClaim(const GridSensitivity& sensitivity, double variance);
  double At(double order) const override;

 private:
  double l2_;
  double variance_;
};

// Proposition 14 of arXiv 2102.06387: the sum of n of variance σ² each.
class DistributedDiscreteGaussianClaim final : public RdpClaim {
 public:
  DistributedDiscreteGaussianClaim(const GridSensitivity& sensitivity,
                                   double local_variance, int64_t devices,
                                   int64_t dimension);
  double At(double order) const override;

 private:
  double r1_;
  double r2_;
  double tau_;
  double dimension_;
};

// Corollary 3.6 of arXiv 2110.04995, integer orders.
class SkellamClaim final : public RdpClaim {
 public:
  SkellamClaim(const GridSensitivity& sensitivity, double total_variance);
  double At(double order) const override;

 private:
  double l1_;
  double l2_;
  double variance_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_PRIVACY_NOISE_CLAIMS_H_
