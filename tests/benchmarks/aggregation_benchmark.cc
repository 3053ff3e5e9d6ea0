// How fast updates are validated and folded, beside what the machine's memory
// allows: a plain copy of the same run. Folding K updates of n values must read
// 4·n·K bytes of updates, and read and write 8·n bytes of accumulator; a copy
// counts each byte twice, read and written. The bound of the project is 70 % of
// the copy's bandwidth; exits with 1 below it when --check is given.
//
//   aggregation_benchmark [--check] [--values N]

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "mledge/aggregation/aggregator.h"
#include "mledge/aggregation/internal/fold_kernel.h"
#include "mledge/core/executor.h"
#include "mledge/core/training_random.h"

namespace mledge {
namespace {

constexpr int kRepetitions = 15;
constexpr int64_t kCopyBytes = int64_t{256} << 20;
constexpr int kMostUpdates = 100;

// Processor time of this process, so that what other processes take of the
// machine does not count; divide by the threads that share the work.
double Seconds(const std::function<void()>& work) {
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * time.tv_nsec;
  };
  const double start = now();
  work();
  return now() - start;
}

std::vector<Update> MakeUpdates(int64_t values) {
  std::vector<Update> updates;
  for (int u = 0; u < kMostUpdates; ++u) {
    TrainingRandom random({.ordinal = u, .purpose = "benchmark"});
    Update update;
    UpdateSection section{std::string(kDeltaSection),
                          AlignedFloats(static_cast<size_t>(values))};
    for (float& value : section.values.span()) {
      value = 0.02F * (random.UniformFloat() - 0.5F);
    }
    update.sections.push_back(std::move(section));
    update.weight = 600 + u;
    update.scalars = {{std::string(kExamplesScalar), 600},
                      {std::string(kLossSumScalar), 1},
                      {std::string(kMetricSumScalar), 1}};
    updates.push_back(std::move(update));
  }
  return updates;
}

class Benchmark {
 public:
  explicit Benchmark(int64_t values)
      : values_(values),
        updates_(MakeUpdates(values)),
        from_(kCopyBytes, 'x'),
        to_(kCopyBytes, 'y') {
    for (const Update& update : updates_) {
      views_.push_back(UpdateView::Of(update, {}));
    }
  }

  // Folds of `group` updates each, over all hundred; returns the ratio to the
  // copy.
  double Run(int group, int threads) {
    // The calling thread works too.
    std::unique_ptr<ThreadPool> pool;
    if (threads > 1) pool = std::make_unique<ThreadPool>(threads - 1);
    const AggregationSpec spec = TrainingAggregationSpec(
        values_, 16, 1 << 20, /*uniform=*/false, kMostUpdates);
    auto aggregator = *Aggregator::Create(spec);
    double fold = 1e9;
    double copy = 1e9;
    double validate = 1e9;
    // Interleaved, so that a disturbance hits all alike; the best of each.
    for (int repetition = 0; repetition < kRepetitions; ++repetition) {
      const int first =
          repetition * group % std::max(1, kMostUpdates - group + 1);
      std::vector<const UpdateView*> chosen;
      for (int u = 0; u < group; ++u) chosen.push_back(&views_[first + u]);
      if (aggregator->sum().count + group > kMostUpdates) {
        aggregator = *Aggregator::Create(spec);
      }
      fold = std::min(fold, Seconds([&] {
                        if (!aggregator->Fold(chosen, pool.get()).ok()) {
                          std::abort();
                        }
                      }));
      copy = std::min(copy, Seconds([&] { Copy(pool.get()); }));
      validate = std::min(validate, Seconds([&] {
                            if (!aggregator->Validate(*chosen[0]).ok()) {
                              std::abort();
                            }
                          }));
    }
    fold /= threads;
    copy /= threads;
    const double fold_bytes = 1.0 * values_ * (4.0 * group + 16);
    const double fold_bandwidth = fold_bytes / fold;
    const double copy_bandwidth = 2.0 * kCopyBytes / copy;
    const double ratio = fold_bandwidth / copy_bandwidth;
    std::printf("%7d %8d %12.0f %14.2f %14.2f %9.0f %% %18.2f\n", group,
                threads, group / fold, fold_bandwidth * 1e-9,
                copy_bandwidth * 1e-9, 100 * ratio,
                4.0 * values_ / validate * 1e-9);
    std::fflush(stdout);
    return ratio;
  }

 private:
  void Copy(ThreadPool* pool) {
    ParallelFor(pool, kCopyBytes, kCopyBytes / 16,
                [&](int64_t begin, int64_t end) {
                  std::memcpy(to_.data() + begin, from_.data() + begin,
                              static_cast<size_t>(end - begin));
                });
  }

  const int64_t values_;
  const std::vector<Update> updates_;
  std::vector<UpdateView> views_;
  const std::string from_;
  std::string to_;
};

int Main(int argc, char** argv) {
  bool check = false;
  int64_t values = 1663370;  // fedavg-cnn
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--check") {
      check = true;
    } else if (argument == "--values" && i + 1 < argc) {
      values = std::max<int64_t>(1, std::atoll(argv[++i]));
    } else {
      std::fprintf(stderr,
                   "usage: aggregation_benchmark [--check] [--values N]\n");
      return 2;
    }
  }
  std::printf("updates of %lld values, %s\n", static_cast<long long>(values),
              aggregation_internal::VectorUnit());
  std::printf("%7s %8s %12s %14s %14s %11s %18s\n", "a fold", "threads",
              "updates/s", "fold GB/s", "copy GB/s", "ratio",
              "validate GB/s (1)");
  Benchmark benchmark(values);
  double worst = 1e9;
  for (int threads : {1, 2}) {
    for (int group : {4, 10, 32, 100}) {
      worst = std::min(worst, benchmark.Run(group, threads));
    }
  }
  std::printf("worst ratio %.0f %% (bound 70 %%)\n", 100 * worst);
  return check && worst < 0.7 ? 1 : 0;
}

}  // namespace
}  // namespace mledge

int main(int argc, char** argv) { return mledge::Main(argc, argv); }
