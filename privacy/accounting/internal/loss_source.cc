#include "mledge/privacy/accounting/internal/loss_source.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "mledge/privacy/accounting/internal/special_functions.h"

namespace mledge::accounting_internal {
namespace {

Probability NormalAt(double x) {
  if (x <= 0) {
    const double below = NormalCdf(x);
    return {below, 1 - below};
  }
  const double above = NormalCdf(-x);
  return {1 - above, above};
}

Probability Mix(double q, Probability other, Probability hit) {
  return {(1 - q) * other.below + q * hit.below,
          (1 - q) * other.above + q * hit.above};
}

// x such that P(Z > x) <= e^log_tail.
double NormalQuantile(double log_tail) { return std::sqrt(-2 * log_tail); }

class Gaussian final : public LossSource {
 public:
  explicit Gaussian(double mu) : mu_(mu) {}
  LossTails TailsAt(double loss) const override {
    return {NormalAt(loss / mu_ - mu_ / 2), NormalAt(loss / mu_ + mu_ / 2)};
  }
  double Lowest(double log_tail) const override {
    return mu_ * (mu_ / 2 - NormalQuantile(log_tail));
  }
  double Highest(double log_tail) const override {
    return mu_ * (mu_ / 2 + NormalQuantile(log_tail));
  }

 private:
  const double mu_;
};

// log(1 - q + q e^(mu x - mu²/2)): the log-ratio of the mixture to N(0,1) at x.
double MixtureLogRatio(double q, double mu, double x) {
  const double exponent = mu * (x - mu / 2);
  if (exponent < 30) return std::log1p(q * std::expm1(exponent));
  return exponent + std::log(q + (1 - q) * std::exp(-exponent));
}

// Its inverse; minus infinity below the least log-ratio, log(1-q).
double MixturePosition(double q, double mu, double log_ratio) {
  double log_excess = 0;  // log((e^log_ratio - 1 + q) / q)
  if (log_ratio > 30) {
    log_excess =
        log_ratio + std::log1p((q - 1) * std::exp(-log_ratio)) - std::log(q);
  } else {
    const double excess = std::expm1(log_ratio) / q + 1;
    if (!(excess > 0)) return -kInfinity;
    log_excess = std::log(excess);
  }
  return log_excess / mu + mu / 2;
}

class PoissonRemove final : public LossSource {
 public:
  PoissonRemove(double q, double mu) : q_(q), mu_(mu) {}
  LossTails TailsAt(double loss) const override {
    const double x = MixturePosition(q_, mu_, loss);
    const Probability miss = NormalAt(x);
    return {Mix(q_, miss, NormalAt(x - mu_)), miss};
  }
  double Lowest(double log_tail) const override {
    return MixtureLogRatio(q_, mu_, -NormalQuantile(log_tail));
  }
  double Highest(double log_tail) const override {
    // Of a sampled device's noise only the share q counts.
    const double hit = std::min(log_tail - std::log(q_), -0.7);
    return MixtureLogRatio(q_, mu_,
                           std::max(mu_ + NormalQuantile(hit - 0.7),
                                    NormalQuantile(log_tail - 0.7)));
  }

 private:
  const double q_;
  const double mu_;
};

// The same positions; the loss is minus the log-ratio and P and Q change roles.
class PoissonAdd final : public LossSource {
 public:
  PoissonAdd(double q, double mu) : q_(q), mu_(mu) {}
  LossTails TailsAt(double loss) const override {
    const double x = MixturePosition(q_, mu_, -loss);
    const Probability miss = Reversed(NormalAt(x));
    return {miss, Mix(q_, miss, Reversed(NormalAt(x - mu_)))};
  }
  double Lowest(double log_tail) const override {
    return -MixtureLogRatio(q_, mu_, NormalQuantile(log_tail));
  }
  double Highest(double log_tail) const override {
    return -MixtureLogRatio(q_, mu_, -NormalQuantile(log_tail));
  }

 private:
  static Probability Reversed(Probability of) { return {of.above, of.below}; }

  const double q_;
  const double mu_;
};

class WithoutReplacement final : public LossSource {
 public:
  WithoutReplacement(double q, double mu)
      : remove_(q, mu),
        add_(q, mu),
        negative_(add_.TailsAt(0)),
        positive_(remove_.TailsAt(0)),
        p_at_zero_((1 - q) * (1 - 2 * NormalCdf(-mu / 2))) {}
  LossTails TailsAt(double loss) const override {
    if (loss < 0) {
      const LossTails tails = add_.TailsAt(loss);
      return {Negative(tails.p, negative_.p, positive_.p),
              Negative(tails.q, negative_.q, positive_.q)};
    }
    const LossTails tails = remove_.TailsAt(loss);
    return {Positive(tails.p, negative_.p, positive_.p),
            Positive(tails.q, negative_.q, positive_.q)};
  }
  // What neither side holds.
  std::vector<LossAtom> Atoms() const override { return {{0, p_at_zero_}}; }
  double Lowest(double log_tail) const override {
    return std::min(0.0, add_.Lowest(log_tail));
  }
  double Highest(double log_tail) const override {
    return std::max(0.0, remove_.Highest(log_tail));
  }

 private:
  static Probability Negative(Probability at, Probability negative,
                              Probability positive) {
    return {at.below, (negative.below - at.below) + positive.above};
  }
  static Probability Positive(Probability at, Probability negative,
                              Probability positive) {
    return {negative.below + (positive.above - at.above), at.above};
  }

  const PoissonRemove remove_;
  const PoissonAdd add_;
  const LossTails negative_;  // of adding, at 0: its `below` counts
  const LossTails positive_;  // of removing, at 0: its `above` counts
  const double p_at_zero_;
};

class Laplace final : public LossSource {
 public:
  explicit Laplace(double epsilon) : epsilon_(epsilon) {}
  // Between the two centres the loss runs from -ε to ε; outside it is constant.
  LossTails TailsAt(double loss) const override {
    const double l = std::clamp(loss, -epsilon_, epsilon_);
    return {Within(l), Reflected(Within(-l))};
  }
  std::vector<LossAtom> Atoms() const override {
    return {{-epsilon_, 0.5 * std::exp(-epsilon_)}, {epsilon_, 0.5}};
  }
  double Lowest(double) const override { return -epsilon_; }
  double Highest(double) const override { return epsilon_; }
  double GridHint() const override { return epsilon_; }

 private:
  // P's probability of -ε < L <= l, and of l < L < ε.
  Probability Within(double l) const {
    const double half = 0.5 * std::exp(-epsilon_);
    return {half * std::expm1((l + epsilon_) / 2),
            -0.5 * std::expm1(-(epsilon_ - l) / 2)};
  }
  static Probability Reflected(Probability of) { return {of.above, of.below}; }

  const double epsilon_;
};

class Discrete final : public LossSource {
 public:
  Discrete(std::vector<LossAtom> atoms, double hint)
      : atoms_(std::move(atoms)), hint_(hint) {
    for (const LossAtom& atom : atoms_) {
      lowest_ = std::min(lowest_, atom.loss);
      highest_ = std::max(highest_, atom.loss);
    }
  }
  bool HasDensity() const override { return false; }
  LossTails TailsAt(double) const override { return {}; }
  std::vector<LossAtom> Atoms() const override { return atoms_; }
  double Lowest(double) const override { return lowest_; }
  double Highest(double) const override { return highest_; }
  double GridHint() const override { return hint_; }

 private:
  std::vector<LossAtom> atoms_;
  double hint_;
  double lowest_ = kInfinity;
  double highest_ = -kInfinity;
};

}  // namespace

std::unique_ptr<LossSource> GaussianLoss(double mu) {
  return std::make_unique<Gaussian>(mu);
}

std::unique_ptr<LossSource> PoissonSampledRemoveLoss(double q, double mu) {
  return std::make_unique<PoissonRemove>(q, mu);
}

std::unique_ptr<LossSource> PoissonSampledAddLoss(double q, double mu) {
  return std::make_unique<PoissonAdd>(q, mu);
}

std::unique_ptr<LossSource> SampledWithoutReplacementLoss(double q, double mu) {
  return std::make_unique<WithoutReplacement>(q, mu);
}

std::unique_ptr<LossSource> LaplaceLoss(double epsilon) {
  return std::make_unique<Laplace>(epsilon);
}

std::unique_ptr<LossSource> RandomizedResponseLoss(double epsilon,
                                                   double categories) {
  const double least = std::exp(-LogAdd(epsilon, std::log(categories - 1)));
  std::vector<LossAtom> atoms = {{-epsilon, least},
                                 {epsilon, least * std::exp(epsilon)}};
  if (categories > 2) atoms.push_back({0, least * (categories - 2)});
  return std::make_unique<Discrete>(std::move(atoms), epsilon);
}

std::unique_ptr<LossSource> DiscreteGaussianLoss(double sigma, double shift) {
  // Beyond this many standard deviations there is less than 1e-300.
  const double reach = std::ceil(38 * sigma) + 1;
  std::vector<double> logs;
  for (double x = -reach; x <= reach; ++x) {
    logs.push_back(-x * x / (2 * sigma * sigma));
  }
  const double log_total = LogSumExp(logs);
  std::vector<LossAtom> atoms;
  for (double x = -reach; x <= reach; ++x) {
    const double log_p = -x * x / (2 * sigma * sigma) - log_total;
    if (log_p < -690) continue;
    // log(P(x)/Q(x)) where Q is centred at `shift`.
    atoms.push_back(
        {shift * (shift - 2 * x) / (2 * sigma * sigma), std::exp(log_p)});
  }
  return std::make_unique<Discrete>(std::move(atoms),
                                    shift / (2 * sigma * sigma));
}

}  // namespace mledge::accounting_internal
