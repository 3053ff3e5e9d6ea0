// What accounting costs: ε by both accountants and the noise for an ε, at q =
// 0.01, z = 1, 10,000 steps, δ = 1e-5. Prints "name value seconds" lines, best
// of several runs; accounting_benchmark.py puts dp_accounting's beside them.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "mledge/privacy/accounting/accountant.h"
#include "mledge/privacy/accounting/calibration.h"

namespace mledge {
namespace {

constexpr double kDelta = 1e-5;
constexpr double kTargetEpsilon = 6.18775;

PrivacyEvent Event(double noise_multiplier) {
  return Repeated(
      {PoissonSampledGaussianEvent{.sampling_probability = 0.01,
                                   .noise_multiplier = noise_multiplier}},
      10000);
}

double Check(const absl::StatusOr<double>& value) {
  if (value.ok()) return *value;
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::exit(1);
}

void Measure(const char* name, int runs, const std::function<double()>& run) {
  double best = 1e300;
  double value = 0;
  for (int i = 0; i < runs; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    value = run();
    const std::chrono::duration<double> taken =
        std::chrono::steady_clock::now() - begin;
    best = std::min(best, taken.count());
  }
  std::printf("%s %.8f %.6f\n", name, value, best);
}

}  // namespace
}  // namespace mledge

int main() {
  using namespace mledge;  // NOLINT: a benchmark's main
  for (AccountantKind kind : {AccountantKind::kPld, AccountantKind::kRdp}) {
    const bool pld = kind == AccountantKind::kPld;
    Measure(pld ? "pld" : "rdp", pld ? 10 : 100,
            [&] { return Check(EpsilonOf(Event(1), kDelta, {.kind = kind})); });
  }
  Measure("calibration", 3, [] {
    const auto found = CalibrateNoise(Event, kTargetEpsilon, kDelta, {});
    return found.ok() ? found->noise_multiplier : Check(found.status());
  });
  return 0;
}
