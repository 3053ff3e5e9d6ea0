// What the noise of one round costs when it is correlated over 2000 rounds:
// processor time beside the two floors of the same run, the sampler alone and a
// plain copy of the vectors that must be read and written; and vectors of
// memory, counted by the kernel, beside the bound of the project, buffers + 2.
// A vector is one 64-bit integer for each parameter. Exits with 1 above the
// bound when --check is given.
//
//   correlated_noise_benchmark [--check] [--parameters N]

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mledge/core/secret_random.h"
#include "mledge/core/sha256.h"
#include "mledge/privacy/matrix/correlated_noise.h"
#include "mledge/privacy/matrix/correlated_noise_plan.h"
#include "mledge/privacy/matrix/discrete_gaussian_sampler.h"
#include "mledge/privacy/matrix/optimize.h"

namespace mledge {
namespace {

constexpr int kRepetitions = 3;
constexpr ParticipationLimits kLimits = {
    .rounds = 2000, .participations = 6, .separation = 342};

// Processor time of the fastest of several runs.
double Seconds(const std::function<void()>& work) {
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) +
           1e-9 * static_cast<double>(time.tv_nsec);
  };
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRepetitions; ++i) {
    const double start = now();
    work();
    best = std::min(best, now() - start);
  }
  return best;
}

// Bytes of memory in use: "VmRSS:" now, "VmHWM:" at most since ForgetPeak.
double ResidentBytes(std::string_view what) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word != what) continue;
    double kibibytes = 0;
    status >> kibibytes;
    return kibibytes * 1024;
  }
  return 0;
}

void ForgetPeak() { std::ofstream("/proc/self/clear_refs") << "5"; }

struct Case {
  const char* name;
  StrategyMatrix strategy;
};

// Whether memory stays within the bound.
bool Measure(const Case& c, int64_t parameters) {
  const absl::StatusOr<CorrelatedNoisePlan> plan =
      PlanCorrelatedNoise({.strategy = c.strategy,
                           .limits = kLimits,
                           .dimension = parameters,
                           .l2_sensitivity = 4096,
                           .equivalent_noise_multiplier = 1});
  if (!plan.ok()) {
    std::printf("%s: %s\n", c.name, plan.status().ToString().c_str());
    return false;
  }
  SystemSecretRandom random;
  const absl::StatusOr<NoiseSampler> sampler =
      DiscreteGaussianSampler(plan->options.standard_deviation, &random);
  ForgetPeak();
  const double before = ResidentBytes("VmRSS:");
  auto noise = CorrelatedNoise::Create(plan->options);
  if (!sampler.ok() || !noise.ok()) {
    std::printf("%s: no sampler or no noise\n", c.name);
    return false;
  }
  std::vector<int64_t> sum(static_cast<size_t>(parameters));
  const auto round = [&](const NoiseSampler& draw) {
    const absl::Status status =
        (*noise)->AddNoise((*noise)->next_round(), draw, sum);
    if (!status.ok()) std::abort();
  };
  const double total = Seconds([&] { round(*sampler); });
  const double vectors =
      (ResidentBytes("VmHWM:") - before) / 8 / static_cast<double>(parameters);
  // The filter alone: draws that cost nothing.
  const double filter =
      Seconds([&] { round([](int64_t, std::span<int64_t>) {}); });
  constexpr int64_t kRange = 8192;
  std::vector<int64_t> z(kRange);
  const double draws = Seconds([&] {
    for (int64_t first = 0; first < parameters; first += kRange) {
      (*sampler)(first, std::span(z).first(static_cast<size_t>(
                            std::min(kRange, parameters - first))));
    }
  });
  // Vectors read and written: the sum, and all buffers; of bands all are read
  // and one is written, for which half a copy each is a little too little.
  const bool bands = std::holds_alternative<BandedToeplitz>(c.strategy);
  const double moved =
      1 + static_cast<double>(plan->vectors) * (bands ? 0.5 : 1);
  std::vector<int64_t> from(static_cast<size_t>(parameters), 1);
  const double copy =
      moved * Seconds([&] {
        std::memcpy(sum.data(), from.data(), from.size() * sizeof(from[0]));
      });
  // The state on its way to a file, beside the hash that it ends with.
  const double save = Seconds([&] {
    const absl::Status status = (*noise)->Save(
        [](std::span<const uint8_t>) { return absl::OkStatus(); });
    if (!status.ok()) std::abort();
  });
  const std::span<const uint8_t> bytes(
      reinterpret_cast<const uint8_t*>(from.data()),
      from.size() * sizeof(from[0]));
  const double hash =
      static_cast<double>(plan->vectors) * Seconds([&] { Sha256Of(bytes); });
  std::printf(
      "%-12s kept %2lld vectors, peak %5.2f of %lld; grid 2^-%d, sigma %.3g; "
      "a round %.3f s, sampler alone %.3f s, filter %.3f s, copy %.3f s: "
      "%.2f of the floors; saved in %.3f s, SHA-256 alone %.3f s\n",
      c.name, static_cast<long long>(plan->vectors), vectors,
      static_cast<long long>(plan->vectors + 2), plan->options.fraction_bits,
      plan->options.standard_deviation, total, draws, filter, copy,
      total / (draws + copy), save, hash);
  std::fflush(stdout);
  return vectors <= static_cast<double>(plan->vectors + 2);
}

int Main(int argc, char** argv) {
  bool check = false;
  int64_t parameters = 10'000'000;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--check") check = true;
    if (argument == "--parameters" && i + 1 < argc) {
      parameters = std::max(1LL, std::atoll(argv[++i]));
    }
  }
  const auto measure = ErrorMeasure::kRootMeanSquare;
  const auto buffers = OptimizeBuffers(kLimits, 4, measure);
  const auto bands = OptimizeBands(kLimits, 8, measure);
  if (!buffers.ok() || !bands.ok()) return 1;
  const std::vector<Case> cases = {{"independent", IndependentNoise()},
                                   {"4 buffers", *buffers},
                                   {"8 bands", *bands},
                                   {"tree", TreeAggregation{}}};
  bool within = true;
  for (const Case& c : cases) {
    within &= Measure(c, parameters);
  }
  std::printf("%s\n", within ? "memory within buffers + 2 vectors"
                             : "memory ABOVE buffers + 2 vectors");
  return check && !within ? 1 : 0;
}

}  // namespace
}  // namespace mledge

int main(int argc, char** argv) { return mledge::Main(argc, argv); }
