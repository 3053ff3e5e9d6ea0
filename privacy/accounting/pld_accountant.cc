#include "mledge/privacy/accounting/pld_accountant.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/accounting/analytic_gaussian.h"
#include "mledge/privacy/accounting/internal/discrete_smoothing.h"
#include "mledge/privacy/accounting/internal/gaussian_fold.h"
#include "mledge/privacy/accounting/internal/loss_source.h"
#include "mledge/privacy/accounting/internal/special_functions.h"

namespace mledge {
namespace {

using accounting_internal::CompositionOptions;
using accounting_internal::CountedEvent;
using accounting_internal::CountedSource;
using accounting_internal::LossSource;
using accounting_internal::SmoothDiscreteGaussian;
using accounting_internal::SmoothedGaussian;

using accounting_internal::kInfinity;
// A discrete Gaussian of one coordinate is taken outcome by outcome up to here.
constexpr double kLargestSigmaByOutcome = 1000;

enum class Direction { kRemove, kAdd };

absl::Status NoLossDistribution(const PrivacyEvent& event,
                                std::string_view why) {
  return absl::InvalidArgumentError(
      StrCat(EventName(event), ": ", why, "; account for it by RDP"));
}

}  // namespace

struct PldAccountant::Losses {
  std::vector<CountedSource> sources;
  double squared_mu = 0;  // of all that is Gaussian
  double log_factor = 0;  // κ of internal/discrete_smoothing.h
  bool non_private = false;

  void AddSource(std::unique_ptr<LossSource> source, int64_t count) {
    sources.push_back({std::move(source), count});
  }
  void AddSmoothed(const SmoothedGaussian& smoothed) {
    squared_mu += smoothed.squared_mu;
    log_factor += smoothed.log_factor;
  }
};

namespace {

// Adds one event to `losses`, a PldAccountant::Losses.
template <typename Losses>
class Adder {
 public:
  Adder(const CountedEvent& counted, const PldAccountant::Options& options,
        Direction direction, Losses* losses)
      : event_(counted.event),
        count_(counted.count),
        distance_(options.adjacency == Adjacency::kReplaceOne ? 2 : 1),
        optimistic_(options.estimate == PldEstimate::kOptimistic),
        direction_(direction),
        losses_(*losses) {}

  absl::Status operator()(const NonPrivateEvent&) {
    losses_.non_private = true;
    return absl::OkStatus();
  }
  absl::Status operator()(const DiscreteGaussianEvent& event) {
    // Integers: a shift of one coordinate is a whole number.
    const double shift = std::floor(event.l2_sensitivity) * distance_;
    if (optimistic_ ||
        (event.dimension == 1 && event.sigma <= kLargestSigmaByOutcome)) {
      // In many coordinates some neighbours differ in one of them alone.
      losses_.AddSource(
          accounting_internal::DiscreteGaussianLoss(event.sigma, shift),
          count_);
      return absl::OkStatus();
    }
    return AddSmoothed(event.sigma, 1, event.dimension, event.l2_sensitivity);
  }
  absl::Status operator()(const DistributedDiscreteGaussianEvent& event) {
    if (optimistic_) {
      return absl::InvalidArgumentError(
          StrCat(EventName(event_), ": there is no optimistic estimate"));
    }
    return AddSmoothed(event.local_sigma, event.honest_clients, event.dimension,
                       event.l2_sensitivity);
  }
  absl::Status operator()(const LaplaceEvent& event) {
    losses_.AddSource(
        accounting_internal::LaplaceLoss(distance_ / event.noise_multiplier),
        count_);
    return absl::OkStatus();
  }
  absl::Status operator()(const RandomizedResponseEvent& event) {
    losses_.AddSource(accounting_internal::RandomizedResponseLoss(
                          event.epsilon, static_cast<double>(event.categories)),
                      count_);
    return absl::OkStatus();
  }
  absl::Status operator()(const PoissonSampledGaussianEvent& event) {
    const double mu = 1 / event.noise_multiplier;
    losses_.AddSource(direction_ == Direction::kRemove
                          ? accounting_internal::PoissonSampledRemoveLoss(
                                event.sampling_probability, mu)
                          : accounting_internal::PoissonSampledAddLoss(
                                event.sampling_probability, mu),
                      count_);
    return absl::OkStatus();
  }
  absl::Status operator()(const SampledWithoutReplacementGaussianEvent& event) {
    losses_.AddSource(accounting_internal::SampledWithoutReplacementLoss(
                          static_cast<double>(event.cohort) /
                              static_cast<double>(event.population),
                          distance_ / event.noise_multiplier),
                      count_);
    return absl::OkStatus();
  }
  absl::Status operator()(const ZcdpEvent&) {
    return NoLossDistribution(event_, "rho alone gives no loss distribution");
  }
  absl::Status operator()(const SkellamEvent&) {
    return NoLossDistribution(
        event_, "its loss distribution in many coordinates is not known");
  }
  // Gaussians were folded before; compositions were taken apart.
  absl::Status operator()(const GaussianEvent&) { return absl::OkStatus(); }
  absl::Status operator()(const MatrixMechanismEvent&) {
    return absl::OkStatus();
  }
  absl::Status operator()(const ComposedEvent&) { return absl::OkStatus(); }

 private:
  absl::Status AddSmoothed(double sigma, int64_t draws, int64_t dimension,
                           double l2_sensitivity) {
    const std::optional<SmoothedGaussian> smoothed = SmoothDiscreteGaussian(
        sigma, draws, dimension, l2_sensitivity * distance_, count_);
    if (!smoothed.has_value()) {
      return NoLossDistribution(
          event_,
          StrCat("sigma ", sigma,
                 " is too small for its loss to be that of a Gaussian"));
    }
    losses_.AddSmoothed(*smoothed);
    return absl::OkStatus();
  }

  const PrivacyEvent& event_;
  const int64_t count_;
  const double distance_;
  const bool optimistic_;
  const Direction direction_;
  Losses& losses_;
};

bool IsDirected(const CountedEvent& counted) {
  return std::holds_alternative<PoissonSampledGaussianEvent>(
      counted.event.kind);
}

CompositionOptions CompositionOptionsOf(const PldAccountant::Options& options) {
  return {.rounding = options.estimate == PldEstimate::kPessimistic
                          ? accounting_internal::Rounding::kPessimistic
                          : accounting_internal::Rounding::kOptimistic,
          .accuracy = options.accuracy,
          .step = options.grid_step};
}

}  // namespace

absl::StatusOr<PldAccountant> PldAccountant::Create(Options options) {
  if (!(options.accuracy >= 1e-8 && options.accuracy <= 1)) {
    return absl::InvalidArgumentError(
        StrCat("accuracy ", options.accuracy, ": it must be from 1e-8 to 1"));
  }
  if (!(options.grid_step >= 0 && options.grid_step <= 1)) {
    return absl::InvalidArgumentError(StrCat(
        "grid step ", options.grid_step,
        ": it must be greater than 0 and at most 1, or 0 for a chosen one"));
  }
  return PldAccountant(options);
}

absl::Status PldAccountant::Compose(const PrivacyEvent& event, int64_t count) {
  PldAccountant with = *this;
  MLEDGE_RETURN_IF_ERROR(accounting_internal::AddFlattened(
      event, count, options_.adjacency, &with.events_));
  MLEDGE_RETURN_IF_ERROR(with.Directions().status());
  events_ = std::move(with.events_);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PldAccountant::Losses>> PldAccountant::Directions()
    const {
  std::vector<Direction> directions = {Direction::kRemove};
  if (std::ranges::any_of(events_, IsDirected)) {
    directions.push_back(Direction::kAdd);
  }
  std::vector<Losses> all;
  for (Direction direction : directions) {
    Losses losses;
    for (const CountedEvent& counted : events_) {
      if (const auto squared_mu = accounting_internal::GaussianSquaredMu(
              counted, options_.adjacency)) {
        losses.squared_mu += *squared_mu;
        continue;
      }
      MLEDGE_RETURN_IF_ERROR(
          std::visit(Adder<Losses>(counted, options_, direction, &losses),
                     counted.event.kind));
    }
    if (losses.squared_mu > 0 && !losses.sources.empty()) {
      losses.AddSource(
          accounting_internal::GaussianLoss(std::sqrt(losses.squared_mu)), 1);
    }
    all.push_back(std::move(losses));
  }
  return all;
}

absl::StatusOr<double> PldAccountant::Epsilon(double delta) const {
  MLEDGE_RETURN_IF_ERROR(ValidateDelta(delta));
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<Losses> directions, Directions());
  double worst = 0;
  for (const Losses& losses : directions) {
    if (losses.non_private) return kInfinity;
    const double remaining = delta * std::exp(-losses.log_factor);
    if (remaining < 1e-100) return kInfinity;
    double epsilon = 0;
    if (!losses.sources.empty()) {
      epsilon = accounting_internal::ComposedEpsilon(
          losses.sources, remaining, CompositionOptionsOf(options_));
    } else if (losses.squared_mu > 0) {
      MLEDGE_ASSIGN_OR_RETURN(
          epsilon,
          GaussianEpsilon(1 / std::sqrt(losses.squared_mu), remaining));
    }
    worst = std::max(worst, epsilon + 2 * losses.log_factor);
  }
  return worst;
}

absl::StatusOr<double> PldAccountant::Delta(double epsilon) const {
  MLEDGE_RETURN_IF_ERROR(ValidateEpsilon(epsilon));
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<Losses> directions, Directions());
  double worst = 0;
  for (const Losses& losses : directions) {
    if (losses.non_private) return 1.0;
    const double remaining = epsilon - 2 * losses.log_factor;
    double delta = 0;
    if (remaining < 0) {
      delta = 1;
    } else if (!losses.sources.empty()) {
      delta = accounting_internal::ComposedDelta(
          losses.sources, remaining, CompositionOptionsOf(options_));
    } else if (losses.squared_mu > 0) {
      MLEDGE_ASSIGN_OR_RETURN(
          delta, GaussianDelta(1 / std::sqrt(losses.squared_mu), remaining));
    }
    worst = std::max(worst, std::min(1.0, delta * std::exp(losses.log_factor)));
  }
  return worst;
}

}  // namespace mledge
