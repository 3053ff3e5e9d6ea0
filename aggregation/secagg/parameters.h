#ifndef MLEDGE_AGGREGATION_SECAGG_PARAMETERS_H_
#define MLEDGE_AGGREGATION_SECAGG_PARAMETERS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// How many neighbours a member of a cohort shares its seeds with, and how many
// of their shares open one (Bell et al., "Secure single-server aggregation with
// (poly)logarithmic overhead", CCS 2020). With n members, A = ⌊γn⌋ of them
// corrupt, D = ⌊δn⌋ lost between sharing and unmasking, B = A + D, a Harary
// graph of even degree k over a random permutation, and threshold t:
//
// 1. connectivity: [n(n−k−1)/2] · B!(n−k)! / ((B−k)! n!) < 2^−(σ+1): the
//    honest survivors hang together, but for that probability;
// 2. privacy: t1 = the least x with n · P[Hypergeometric(n, A, k) > x] ≤
//    2^−(σ+1), that is, no more than t1 corrupt neighbours; against a server
//    that follows the protocol t ≥ t1 + 1, against one that tells neighbours
//    different things t ≥ ⌈(t1 + k − 1.25)/2⌉ + 1, so that 2t − k > t1;
// 3. correctness: n · P[Hypergeometric(n, n−D, k) < t] ≤ 2^−η: everybody has t
//    neighbours left that answer;
// 4. no cut, where a lying server chooses who is lost with the graph in sight:
//    (n²/2) · P[Hypergeometric(n, A, k/2) ≥ t − k/2]² < 2^−(σ+1): nowhere do
//    two arcs of k/2 places have so many corrupt members that the circle falls
//    apart there. Not for the full graph, which has no arcs. Ours; the
//    derivation is in docs/secagg_protocol.md.
//
// The coordinator takes the smallest k that has a feasible t, and its least t.
// A device checks 1, 2 and 4 itself, with its own γ, σ and threat model; 3 is
// not about its safety. The rule bounds counts: if more are lost, the session
// aborts; t is never lowered. Pure functions; probabilities are computed in the
// logarithm with long double, whose error (about 1e-11 in the exponent at a
// million members) is far below the distance between neighbouring candidates.

namespace mledge::secagg {

inline constexpr int64_t kFewestClients = 3;
inline constexpr int64_t kMostClients = 1'000'000;

enum class ThreatModel {
  kSemiHonest,     // the server follows the protocol and looks
  kSemiMalicious,  // it may tell each device something else
};

enum class GraphKind {
  kAuto,    // Harary; the full graph where no Harary degree is feasible
  kHarary,  // Harary or refuse
  kFull,    // everybody is everybody's neighbour: k = n − 1
};

// Who decides which members are lost.
enum class LossChoice {
  kIndependent,  // chance, without regard to the graph: rules 1 to 3
  kAdversarial,  // a lying server, which knows it: rule 4 as well
};

struct ParameterRequest {
  int64_t clients = 0;            // n, kFewestClients … kMostClients
  double corrupt_fraction = 0.1;  // γ, 0 ≤ γ < 1
  double dropout_fraction = 0.1;  // δ, 0 ≤ δ < 1
  int sigma = 40;  // privacy and connectivity fail with 2^−σ; 1 … 128
  int eta = 30;    // recovery fails with 2^−η; 1 … 128
  ThreatModel threat_model = ThreatModel::kSemiMalicious;
  // Nothing to a server that follows the protocol.
  LossChoice losses = LossChoice::kAdversarial;
  GraphKind graph = GraphKind::kAuto;
};

struct SecaggParameters {
  int64_t clients = 0;      // n
  int64_t neighbors = 0;    // k
  int64_t threshold = 0;    // t
  int64_t corrupt = 0;      // A; 0 means that nobody is assumed corrupt
  int64_t dropouts = 0;     // D
  bool full_graph = false;  // k = n − 1, no permutation
  int64_t least_alive() const { return clients - dropouts; }

  bool operator==(const SecaggParameters&) const = default;
};

// INVALID_ARGUMENT: a field of the request out of its range.
// FAILED_PRECONDITION: no k is feasible; the message says which of the limits
// broke (γ + δ or γ + 2δ above 0.9, connectivity, privacy or correctness) and
// what would help. Where rule 4 asks for too much, privacy is what broke.
absl::StatusOr<SecaggParameters> FindParameters(
    const ParameterRequest& request);

// What a device demands of a session, from its own configuration.
struct SecaggPolicy {
  double corrupt_fraction = 0.1;  // γ
  int sigma = 40;  // before ⌈log2(sessions a day)⌉, see below
  ThreatModel threat_model = ThreatModel::kSemiMalicious;
  LossChoice losses = LossChoice::kAdversarial;
  int64_t least_clients = 20;  // n below this is refused
  int64_t least_alive = 20;    // a sum of fewer is never released
  // Where the members' noise makes the sum private: so many of those that are
  // alive at least, besides corrupt ones, whose noise is counted on, and what
  // fraction of the members is corrupt then. 0: no noise is counted on.
  int64_t least_honest = 0;
  double noise_corrupt_fraction = 0;
};

// The device's check of what the directory commits to, rules 1, 2 and 4 with
// D = clients − least_alive. A degree of clients − 1 is the full graph; any
// other must be even. INVALID_ARGUMENT: numbers that are no session at all
// (t > k, k ≥ n, odd k, least alive above n, …). FAILED_PRECONDITION: a session
// that this policy refuses; the message names the rule, the number and what
// would have been enough.
absl::Status CheckParameters(int64_t clients, int64_t neighbors,
                             int64_t threshold, int64_t least_alive,
                             const SecaggPolicy& policy);

// σ + ⌈log2(sessions_a_day)⌉: a server may try that many sessions a day, each
// with a new draw. Precondition: sessions_a_day ≥ 1.
int SigmaForSessions(int sigma, int64_t sessions_a_day);

// ⌊fraction · n⌋, where a product within 1e-6 below an integer counts as that
// integer, so that 0.29 · 100 is 29 on every side.
int64_t CountOfFraction(double fraction, int64_t clients);

// 2 ^ of these is the probability; −infinity where it is zero.
//
// log2 of the left side of rule 1.
long double Log2Disconnected(int64_t clients, int64_t corrupt_and_lost,
                             int64_t neighbors);
// log2 P[Hypergeometric(population, marked, drawn) > x] and … < x.
long double Log2HypergeometricAbove(int64_t population, int64_t marked,
                                    int64_t drawn, int64_t x);
long double Log2HypergeometricBelow(int64_t population, int64_t marked,
                                    int64_t drawn, int64_t x);

// The least threshold that rule 2 allows for these; may exceed `neighbors`.
int64_t LeastPrivateThreshold(int64_t clients, int64_t corrupt,
                              int64_t neighbors, int sigma,
                              ThreatModel threat_model);

// The least threshold that rule 4 allows for a Harary graph of these; may
// exceed `neighbors`.
int64_t LeastUncutThreshold(int64_t clients, int64_t corrupt, int64_t neighbors,
                            int sigma);

std::string_view ToString(ThreatModel threat_model);

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_PARAMETERS_H_
