#include "mledge/tests/privacy/noise/claims.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace mledge {

double RdpClaim::DeltaAt(double epsilon) const {
  double delta = 1;
  for (int order = 2; order <= 128; ++order) {
    const double a = order;
    delta = std::min(
        delta, std::exp((a - 1) * (At(a) + std::log1p(-1 / a) - epsilon)) / a);
  }
  return delta;
}

DiscreteGaussianClaim::DiscreteGaussianClaim(const GridSensitivity& sensitivity,
                                             double variance)
    : l2_(sensitivity.l2), variance_(variance) {}

double DiscreteGaussianClaim::At(double order) const {
  return order * l2_ * l2_ / (2 * variance_);
}

DistributedDiscreteGaussianClaim::DistributedDiscreteGaussianClaim(
    const GridSensitivity& sensitivity, double local_variance, int64_t devices,
    int64_t dimension)
    : tau_(0), dimension_(static_cast<double>(dimension)) {
  const double deviation =
      std::sqrt(local_variance * static_cast<double>(devices));
  r1_ = sensitivity.l1 / deviation;
  r2_ = sensitivity.l2 / deviation;
  for (int64_t k = 1; k < devices; ++k) {
    const auto ratio = static_cast<double>(k) / static_cast<double>(k + 1);
    tau_ += 10 * std::exp(-2 * std::numbers::pi * std::numbers::pi *
                          local_variance * ratio);
  }
}

double DistributedDiscreteGaussianClaim::At(double order) const {
  const double root = r2_ + std::sqrt(dimension_) * tau_;
  return std::min(
      {order * r2_ * r2_ / 2 + tau_ * dimension_,
       order / 2 * (r2_ * r2_ + 2 * r1_ * tau_ + tau_ * tau_ * dimension_),
       order / 2 * root * root});
}

SkellamClaim::SkellamClaim(const GridSensitivity& sensitivity,
                           double total_variance)
    : l1_(sensitivity.l1), l2_(sensitivity.l2), variance_(total_variance) {}

double SkellamClaim::At(double order) const {
  if (order != std::floor(order)) {
    return std::numeric_limits<double>::infinity();
  }
  const double square = l2_ * l2_;
  return order * square / (2 * variance_) +
         std::min(
             ((2 * order - 1) * square + 6 * l1_) / (4 * variance_ * variance_),
             3 * l1_ / (2 * variance_));
}

}  // namespace mledge
