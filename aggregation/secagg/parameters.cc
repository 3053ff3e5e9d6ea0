#include "mledge/aggregation/secagg/parameters.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

constexpr long double kLn2 = 0.693147180559945309417232121458176568L;
constexpr long double kImpossible =
    -std::numeric_limits<long double>::infinity();
// Beyond this share of the cohort, corrupt and lost together, no useful
// parameters exist.
constexpr double kLargestLoss = 0.9;
constexpr double kLossSlack = 1e-9;

long double LnFactorial(int64_t n) {
  return std::lgamma(static_cast<long double>(n) + 1);
}

long double LnChoose(int64_t n, int64_t k) {
  return LnFactorial(n) - LnFactorial(k) - LnFactorial(n - k);
}

// `drawn` of `population` without replacement, `marked` of which count.
class Hypergeometric {
 public:
  Hypergeometric(int64_t population, int64_t marked, int64_t drawn)
      : population_(population), marked_(marked), drawn_(drawn) {}

  int64_t least() const {
    return std::max<int64_t>(0, drawn_ + marked_ - population_);
  }
  int64_t most() const { return std::min(marked_, drawn_); }

  // log2 of the sum over from … most(), from … least() downwards.
  long double Log2Upper(int64_t from) const {
    if (from > most()) return kImpossible;
    if (from <= least()) return 0;
    if (from <= mode()) return Log2Complement(Log2Lower(from - 1));
    long double term = 1;
    long double sum = 1;
    for (int64_t i = from; i < most() && term > sum * kNegligible; ++i) {
      term *= Ratio(i);
      sum += term;
    }
    return Log2Mass(from) + std::log2(sum);
  }
  long double Log2Lower(int64_t from) const {
    if (from < least()) return kImpossible;
    if (from >= most()) return 0;
    if (from > mode()) return Log2Complement(Log2Upper(from + 1));
    long double term = 1;
    long double sum = 1;
    for (int64_t i = from; i > least() && term > sum * kNegligible; --i) {
      term /= Ratio(i - 1);
      sum += term;
    }
    return Log2Mass(from) + std::log2(sum);
  }

 private:
  static constexpr long double kNegligible = 0x1p-70L;

  int64_t mode() const {
    return static_cast<int64_t>(static_cast<long double>(drawn_ + 1) *
                                static_cast<long double>(marked_ + 1) /
                                static_cast<long double>(population_ + 2));
  }
  // P[i + 1] / P[i].
  long double Ratio(int64_t i) const {
    return static_cast<long double>(marked_ - i) *
           static_cast<long double>(drawn_ - i) /
           (static_cast<long double>(i + 1) *
            static_cast<long double>(population_ - marked_ - drawn_ + i + 1));
  }
  long double Log2Mass(int64_t i) const {
    return (LnChoose(marked_, i) + LnChoose(population_ - marked_, drawn_ - i) -
            LnChoose(population_, drawn_)) /
           kLn2;
  }
  static long double Log2Complement(long double log2_probability) {
    const long double rest = -std::expm1(log2_probability * kLn2);
    return rest > 0 ? std::log2(rest) : kImpossible;
  }

  int64_t population_;
  int64_t marked_;
  int64_t drawn_;
};

// t1 of the header, searched upwards from a number that is not above it.
int64_t MostCorruptNeighbors(int64_t clients, int64_t corrupt,
                             int64_t neighbors, int sigma, int64_t from) {
  const long double limit =
      -(sigma + 1) - std::log2(static_cast<long double>(clients));
  const Hypergeometric distribution(clients, corrupt, neighbors);
  int64_t x = from;
  while (distribution.Log2Upper(x + 1) > limit) ++x;
  return x;
}

int64_t ThresholdAgainst(ThreatModel threat_model, int64_t corrupt_neighbors,
                         int64_t neighbors) {
  if (threat_model == ThreatModel::kSemiHonest) return corrupt_neighbors + 1;
  // ⌈(t1 + k − 5/4) / 2⌉ + 1 in integers; the numerator may be negative, where
  // a threshold of 1 is the least there is.
  const int64_t numerator = 4 * (corrupt_neighbors + neighbors) - 5;
  return std::max<int64_t>(0, numerator + 7) / 8 + 1;
}

// Rule 4 speaks of these graphs only.
bool CanBeCut(ThreatModel threat_model, LossChoice losses, int64_t clients,
              int64_t neighbors) {
  return threat_model == ThreatModel::kSemiMalicious &&
         losses == LossChoice::kAdversarial && neighbors < clients - 1;
}

bool IsConnected(int64_t clients, int64_t corrupt_and_lost, int64_t neighbors,
                 int sigma) {
  return Log2Disconnected(clients, corrupt_and_lost, neighbors) < -(sigma + 1);
}

bool IsRecoverable(int64_t clients, int64_t dropouts, int64_t neighbors,
                   int64_t threshold, int eta) {
  return std::log2(static_cast<long double>(clients)) +
             Log2HypergeometricBelow(clients, clients - dropouts, neighbors,
                                     threshold) <=
         -eta;
}

absl::Status CheckRequest(const ParameterRequest& request) {
  if (request.clients < kFewestClients || request.clients > kMostClients) {
    return absl::InvalidArgumentError(
        StrCat("secure aggregation takes ", kFewestClients, " to ",
               kMostClients, " clients, not ", request.clients));
  }
  const auto is_fraction = [](double x) { return x >= 0 && x < 1; };
  if (!is_fraction(request.corrupt_fraction)) {
    return absl::InvalidArgumentError(
        StrCat("the corrupt fraction must be at least 0 and below 1, not ",
               request.corrupt_fraction));
  }
  if (!is_fraction(request.dropout_fraction)) {
    return absl::InvalidArgumentError(
        StrCat("the dropout fraction must be at least 0 and below 1, not ",
               request.dropout_fraction));
  }
  if (request.sigma < 1 || request.sigma > 128) {
    return absl::InvalidArgumentError(
        StrCat("sigma must be 1 to 128, not ", request.sigma));
  }
  if (request.eta < 1 || request.eta > 128) {
    return absl::InvalidArgumentError(
        StrCat("eta must be 1 to 128, not ", request.eta));
  }
  return absl::OkStatus();
}

absl::Status CheckLoss(const ParameterRequest& request) {
  const bool semi_honest = request.threat_model == ThreatModel::kSemiHonest;
  const double loss = request.corrupt_fraction +
                      (semi_honest ? 1 : 2) * request.dropout_fraction;
  if (loss <= kLargestLoss + kLossSlack) return absl::OkStatus();
  return absl::FailedPreconditionError(
      StrCat("corrupt fraction + ", semi_honest ? "" : "2 · ",
             "dropout fraction is ", loss, ", above ", kLargestLoss,
             ", which is the limit against a ", ToString(request.threat_model),
             " server: lower one of them, for example by letting devices train "
             "before they join"));
}

// Why a cohort of these numbers cannot be protected with that degree.
absl::Status Infeasible(const ParameterRequest& request, int64_t corrupt,
                        int64_t dropouts, int64_t neighbors) {
  const std::string where =
      StrCat("no parameters for ", request.clients, " clients, ", corrupt,
             " of them corrupt and ", dropouts, " lost: even with ", neighbors,
             " neighbors ");
  if (!IsConnected(request.clients, corrupt + dropouts, neighbors,
                   request.sigma)) {
    return absl::FailedPreconditionError(
        StrCat(where,
               "the connectivity limit breaks (the honest survivors may "
               "fall apart with more than 2^-",
               request.sigma + 1,
               "): lower the corrupt or the dropout fraction, or sigma"));
  }
  int64_t threshold = LeastPrivateThreshold(
      request.clients, corrupt, neighbors, request.sigma, request.threat_model);
  if (CanBeCut(request.threat_model, request.losses, request.clients,
               neighbors)) {
    threshold =
        std::max(threshold, LeastUncutThreshold(request.clients, corrupt,
                                                neighbors, request.sigma));
  }
  if (threshold > neighbors) {
    return absl::FailedPreconditionError(
        StrCat(where, "the privacy limit breaks (a threshold of ", threshold,
               " would be needed): lower the corrupt fraction"));
  }
  return absl::FailedPreconditionError(StrCat(
      where, "the correctness limit breaks (with the threshold ", threshold,
      " that privacy needs, recovery fails with more than 2^-", request.eta,
      "): lower the dropout or the corrupt fraction, or eta, or take "
      "more clients"));
}

}  // namespace

std::string_view ToString(ThreatModel threat_model) {
  return threat_model == ThreatModel::kSemiHonest ? "semi-honest"
                                                  : "semi-malicious";
}

int64_t CountOfFraction(double fraction, int64_t clients) {
  return static_cast<int64_t>(
      std::floor(fraction * static_cast<double>(clients) + 1e-6));
}

int SigmaForSessions(int sigma, int64_t sessions_a_day) {
  int bits = 0;
  while (bits < 62 && (int64_t{1} << bits) < sessions_a_day) ++bits;
  return sigma + bits;
}

int64_t LeastUncutThreshold(int64_t clients, int64_t corrupt, int64_t neighbors,
                            int sigma) {
  // Of the probability of one arc.
  const long double limit =
      (-sigma - 2 * std::log2(static_cast<long double>(clients))) / 2;
  const Hypergeometric arc(clients, corrupt, neighbors / 2);
  int64_t needed = 1;
  while (arc.Log2Upper(needed) >= limit) ++needed;
  return neighbors / 2 + needed;
}

long double Log2Disconnected(int64_t clients, int64_t corrupt_and_lost,
                             int64_t neighbors) {
  if (neighbors >= clients - 1 || corrupt_and_lost < neighbors) {
    return kImpossible;
  }
  const long double pairs = static_cast<long double>(clients) *
                            static_cast<long double>(clients - neighbors - 1) /
                            2;
  return std::log2(pairs) +
         (LnFactorial(corrupt_and_lost) + LnFactorial(clients - neighbors) -
          LnFactorial(corrupt_and_lost - neighbors) - LnFactorial(clients)) /
             kLn2;
}

long double Log2HypergeometricAbove(int64_t population, int64_t marked,
                                    int64_t drawn, int64_t x) {
  return Hypergeometric(population, marked, drawn).Log2Upper(x + 1);
}

long double Log2HypergeometricBelow(int64_t population, int64_t marked,
                                    int64_t drawn, int64_t x) {
  return Hypergeometric(population, marked, drawn).Log2Lower(x - 1);
}

int64_t LeastPrivateThreshold(int64_t clients, int64_t corrupt,
                              int64_t neighbors, int sigma,
                              ThreatModel threat_model) {
  return ThresholdAgainst(
      threat_model, MostCorruptNeighbors(clients, corrupt, neighbors, sigma, 0),
      neighbors);
}

absl::StatusOr<SecaggParameters> FindParameters(
    const ParameterRequest& request) {
  MLEDGE_RETURN_IF_ERROR(CheckRequest(request));
  MLEDGE_RETURN_IF_ERROR(CheckLoss(request));
  const int64_t n = request.clients;
  const int64_t corrupt = CountOfFraction(request.corrupt_fraction, n);
  const int64_t dropouts = CountOfFraction(request.dropout_fraction, n);
  // t1 grows with k, so each search goes on where the last one ended.
  int64_t corrupt_neighbors = 0;
  const auto feasible_threshold = [&](int64_t k) -> int64_t {
    if (!IsConnected(n, corrupt + dropouts, k, request.sigma)) return 0;
    corrupt_neighbors =
        MostCorruptNeighbors(n, corrupt, k, request.sigma, corrupt_neighbors);
    int64_t t = ThresholdAgainst(request.threat_model, corrupt_neighbors, k);
    const auto is_possible = [&] {
      return t <= k && IsRecoverable(n, dropouts, k, t, request.eta);
    };
    if (!is_possible()) return 0;
    if (!CanBeCut(request.threat_model, request.losses, n, k)) return t;
    t = std::max(t, LeastUncutThreshold(n, corrupt, k, request.sigma));
    return is_possible() ? t : 0;
  };
  const auto found = [&](int64_t k, int64_t t) {
    return SecaggParameters{.clients = n,
                            .neighbors = k,
                            .threshold = t,
                            .corrupt = corrupt,
                            .dropouts = dropouts,
                            .full_graph = k == n - 1};
  };
  if (request.graph != GraphKind::kFull) {
    for (int64_t k = 2; k <= n - 2; k += 2) {
      if (const int64_t t = feasible_threshold(k); t > 0) return found(k, t);
    }
  }
  corrupt_neighbors = 0;
  const int64_t full_threshold = feasible_threshold(n - 1);
  if (request.graph != GraphKind::kHarary) {
    if (full_threshold > 0) return found(n - 1, full_threshold);
    return Infeasible(request, corrupt, dropouts, n - 1);
  }
  const int64_t largest = (n - 2) / 2 * 2;
  if (full_threshold > 0 || largest < 2) {
    return absl::FailedPreconditionError(
        StrCat("no Harary graph is feasible for ", n,
               " clients, but the full graph is: ask for it, or for auto"));
  }
  return Infeasible(request, corrupt, dropouts, largest);
}

absl::Status CheckParameters(int64_t clients, int64_t neighbors,
                             int64_t threshold, int64_t least_alive,
                             const SecaggPolicy& policy) {
  if (clients < kFewestClients || clients > kMostClients) {
    return absl::InvalidArgumentError(StrCat("a session takes ", kFewestClients,
                                             " to ", kMostClients,
                                             " members, not ", clients));
  }
  const bool full = neighbors == clients - 1;
  if (neighbors < 2 || neighbors > clients - 1 ||
      (!full && neighbors % 2 != 0)) {
    return absl::InvalidArgumentError(
        StrCat("no graph over ", clients, " members has ", neighbors,
               " neighbors each: an even number below ", clients - 1,
               ", or all others"));
  }
  if (threshold < 1 || threshold > neighbors) {
    return absl::InvalidArgumentError(StrCat("the threshold must be 1 to the ",
                                             neighbors, " neighbors, not ",
                                             threshold));
  }
  if (least_alive < 1 || least_alive > clients) {
    return absl::InvalidArgumentError(
        StrCat("the least alive must be 1 to the ", clients, " members, not ",
               least_alive));
  }
  if (!(policy.corrupt_fraction >= 0 && policy.corrupt_fraction < 1) ||
      policy.sigma < 1) {
    return absl::InvalidArgumentError(
        StrCat("this device's own policy is invalid: corrupt fraction ",
               policy.corrupt_fraction, ", sigma ", policy.sigma));
  }
  if (clients < policy.least_clients) {
    return absl::FailedPreconditionError(
        StrCat("the session has ", clients,
               " members; this device takes part with at least ",
               policy.least_clients));
  }
  if (least_alive < policy.least_alive) {
    return absl::FailedPreconditionError(
        StrCat("the session would release a sum of ", least_alive,
               " members; this device demands at least ", policy.least_alive));
  }
  if (least_alive - CountOfFraction(policy.noise_corrupt_fraction, clients) <
      policy.least_honest) {
    return absl::FailedPreconditionError(
        StrCat("the session would release a sum of ", least_alive, " of ",
               clients, " members; the task's noise is sized for ",
               policy.least_honest, " honest ones"));
  }
  const int64_t corrupt = CountOfFraction(policy.corrupt_fraction, clients);
  const int64_t dropouts = clients - least_alive;
  if (!IsConnected(clients, corrupt + dropouts, neighbors, policy.sigma)) {
    return absl::FailedPreconditionError(StrCat(
        neighbors, " neighbors are too few for ", clients, " members, ",
        corrupt, " of them corrupt and ", dropouts,
        " lost: the connectivity limit (2^-", policy.sigma + 1, ") breaks"));
  }
  int64_t least = LeastPrivateThreshold(clients, corrupt, neighbors,
                                        policy.sigma, policy.threat_model);
  if (CanBeCut(policy.threat_model, policy.losses, clients, neighbors)) {
    least = std::max(
        least, LeastUncutThreshold(clients, corrupt, neighbors, policy.sigma));
  }
  if (threshold < least) {
    return absl::FailedPreconditionError(StrCat(
        "a threshold of ", threshold, " of ", neighbors,
        " neighbors is too low for this device's ",
        ToString(policy.threat_model), " policy (", corrupt, " of ", clients,
        " corrupt, sigma ", policy.sigma, "): at least ", least));
  }
  return absl::OkStatus();
}

}  // namespace mledge::secagg
