#ifndef MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_LOSS_SOURCE_H_
#define MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_LOSS_SOURCE_H_

#include <memory>
#include <vector>

// The privacy loss L = log(P(x)/Q(x)), x ~ P, of one mechanism on one pair of
// neighbouring inputs, exactly: what the grid of loss_grid.h is filled from.
// P and Q are output distributions that dominate all neighbours' (Zhu, Dong,
// Wang, "Optimal accounting of differential privacy via characteristic
// function", 2106.08567, definition 7). Immutable, thread-safe.

namespace mledge::accounting_internal {

// Two probabilities that add up to that of the whole, each with its own
// relative accuracy.
struct Probability {
  double below = 0;
  double above = 1;
};

// How much of the part of P, and of Q, that has a density lies at L <= loss and
// at L > loss.
struct LossTails {
  Probability p;
  Probability q;
};

// An outcome of positive probability; Q gives it probability · e^(-loss).
struct LossAtom {
  double loss = 0;
  double probability = 0;  // under P
};

class LossSource {
 public:
  virtual ~LossSource() = default;

  virtual bool HasDensity() const { return true; }
  // Precondition: HasDensity(). Also outside the losses that occur.
  virtual LossTails TailsAt(double loss) const = 0;
  virtual std::vector<LossAtom> Atoms() const { return {}; }
  // Losses outside of which at most e^log_tail of P's probability lies on each
  // side, atoms included.
  virtual double Lowest(double log_tail) const = 0;
  virtual double Highest(double log_tail) const = 0;
  // Where grid points should lie: at multiples of this divided by an integer.
  // 0: anywhere.
  virtual double GridHint() const { return 0; }
};

// All with the noise's standard deviation as the unit; `mu` is the sensitivity
// in it.

// Gaussian against a shifted one.
std::unique_ptr<LossSource> GaussianLoss(double mu);

// (1-q) N(0,1) + q N(mu,1) against N(0,1): a device is removed (Zhu, Dong,
// Wang, theorem 11); and the two exchanged: it is added.
std::unique_ptr<LossSource> PoissonSampledRemoveLoss(double q, double mu);
std::unique_ptr<LossSource> PoissonSampledAddLoss(double q, double mu);

// A uniform sample of fixed size, a share q of the population, one device
// replaced, `mu` being the distance after a replacement (Zhu, Dong, Wang,
// theorem 11: the hockey-stick curve is that of removing where the loss is
// positive and that of adding where it is negative).
std::unique_ptr<LossSource> SampledWithoutReplacementLoss(double q, double mu);

// Laplace noise of scale 1 against one shifted by `epsilon`.
std::unique_ptr<LossSource> LaplaceLoss(double epsilon);

// Categories of which two exchange their probabilities.
std::unique_ptr<LossSource> RandomizedResponseLoss(double epsilon,
                                                   double categories);

// One coordinate of discrete Gaussian noise, shifted by a positive integer.
std::unique_ptr<LossSource> DiscreteGaussianLoss(double sigma, double shift);

}  // namespace mledge::accounting_internal

#endif  // MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_LOSS_SOURCE_H_
