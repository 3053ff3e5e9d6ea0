#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "google/protobuf/text_format.h"
#include "mledge/client/idx_source.h"
#include "mledge/client/torch/torch_trainer.h"
#include "mledge/core/executor.h"
#include "mledge/core/logging.h"
#include "mledge/model/torch/built_in_models.h"
#include "mledge/model/torch/torch_runtime.h"
#include "mledge/simulation/simulator.h"
#include "mledge/task/validation.h"
#include "mledge/tests/benchmarks/bare_training_loop.h"
#include "mledge/tests/benchmarks/quartiles.h"
#include "mledge/tests/support/shared_data.h"

// A whole simulated round beside its floor: the same devices trained in a loop
// written by hand on bare LibTorch, with as many threads. Both are measured by
// turns in one run (the bare loop runs between two rounds), so that what else
// the machine does weighs on both; of each round and the loop after it, the
// ratio is taken, and its median counts (in brackets: first and third
// quartile). Work of the published comparisons: MNIST, 100 devices of 600
// examples, 10 a round, batch 10, one epoch, plain SGD, no evaluation.
//
//   simulator_benchmark [ROUNDS [ARCHITECTURE]]
//
// Goals: round over floor at most 1.15 for 2nn and 1.05 for fedavg-cnn; two
// workers at least 0.95 of the scaling of the bare loop.

namespace mledge {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kDevices = 100;
constexpr int64_t kCohort = 10;
constexpr int64_t kBatch = 10;
constexpr double kRate = 0.05;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::shared_ptr<const ExampleStore> OpenData(std::string* name) {
  absl::StatusOr<std::string> folder = FindSharedData("mnist");
  *name = "MNIST";
  if (!folder.ok()) {
    folder = FindFashionMnist();
    *name = "Fashion-MNIST";
  }
  CHECK(folder.ok()) << folder.status().message();
  auto store =
      IdxStore::Open(*folder + "/train-images-idx3-ubyte.gz",
                     *folder + "/train-labels-idx1-ubyte.gz", {.classes = 10});
  CHECK(store.ok()) << store.status().message();
  return *std::move(store);
}

v1::Task MakeTask(const std::string& architecture, int64_t rounds) {
  v1::Task task;
  task.set_name("benchmark");
  task.mutable_model()->mutable_built_in()->set_architecture(architecture);
  task.mutable_local_training()->set_epochs(1);
  task.mutable_local_training()->set_batch_size(kBatch);
  task.mutable_local_training()->mutable_sgd()->set_learning_rate(kRate);
  task.mutable_cohort()->set_size(kCohort);
  task.mutable_secure_aggregation()->set_mode(v1::SecureAggregation::OFF);
  task.mutable_evaluation()->set_every(0);
  task.mutable_stop()->set_rounds(rounds);
  v1::Simulation* simulation = task.mutable_simulation();
  simulation->set_devices(kDevices);
  simulation->mutable_training_data()->mutable_idx()->set_images("given");
  simulation->mutable_training_data()->mutable_idx()->set_labels("given");
  simulation->mutable_partition()->mutable_iid();
  const absl::Status status = ValidateTask(&task);
  CHECK(status.ok()) << status.message();
  return task;
}

// The floor: a cohort's training on threads of its own.
class BareCohort {
 public:
  BareCohort(const std::string& architecture, int workers,
             const ExampleStore& data)
      : pool_(workers, "bare", PrepareTrainingThread) {
    for (int i = 0; i < workers; ++i) {
      loops_.push_back(std::make_unique<BareTrainingLoop>(architecture));
    }
    const int64_t share = data.size() / kDevices;
    for (int64_t d = 0; d < kCohort; ++d) {
      std::vector<int64_t> positions(share);
      std::iota(positions.begin(), positions.end(), d * share);
      CHECK(data.Read(positions, &devices_.emplace_back()).ok());
    }
    Run();  // warms up
  }

  double Run() {
    const Clock::time_point begin = Clock::now();
    std::atomic<size_t> next{0};
    std::atomic<size_t> running{loops_.size()};
    Mutex mutex;
    CondVar done;
    for (const std::unique_ptr<BareTrainingLoop>& loop : loops_) {
      pool_.Schedule([&, bare = loop.get()] {
        for (size_t d = next++; d < devices_.size(); d = next++) {
          bare->Run(devices_[d].inputs, devices_[d].class_labels, kBatch,
                    kRate);
        }
        MutexLock lock(&mutex);
        if (--running == 0) done.Signal();
      });
    }
    MutexLock lock(&mutex);
    while (running > 0) done.Wait(&mutex);
    return SecondsSince(begin);
  }

 private:
  std::vector<std::unique_ptr<BareTrainingLoop>> loops_;
  std::vector<ExampleBatch> devices_;
  ThreadPool pool_;
};

struct Figures {
  double round = 0;  // median seconds
  double bare = 0;
  double ratio = 0;
};

Figures Measure(const std::string& architecture, int workers, int64_t rounds,
                const std::shared_ptr<const ExampleStore>& data) {
  BareCohort bare(architecture, workers, *data);
  Simulator::Options options;
  options.task = MakeTask(architecture, rounds + 1);
  auto package = CreateBuiltInModel({.architecture = architecture}, 1);
  CHECK(package.ok()) << package.status().message();
  options.package = *std::move(package);
  options.training_data = data;
  options.workers = workers;
  options.on_worker_start = PrepareTrainingThread;
  std::vector<double> round_seconds;
  std::vector<double> bare_seconds;
  Clock::time_point begin = Clock::now();
  options.on_round = [&](const RoundMetrics& round) {
    // The first round loads the model into each worker.
    if (round.round > 1) {
      round_seconds.push_back(SecondsSince(begin));
      bare_seconds.push_back(bare.Run());
    }
    begin = Clock::now();
  };
  const std::unique_ptr<TrainerFactory> factory = CreateTorchTrainerFactory();
  auto simulator = Simulator::Create(std::move(options), factory.get());
  CHECK(simulator.ok()) << simulator.status().message();
  const auto result = (*simulator)->Run();
  CHECK(result.ok()) << result.status().message();
  CHECK(round_seconds.size() == static_cast<size_t>(rounds));
  std::vector<double> ratios;
  for (size_t i = 0; i < round_seconds.size(); ++i) {
    ratios.push_back(round_seconds[i] / bare_seconds[i]);
  }
  const Quartiles ratio(std::move(ratios));
  const Figures figures{Quartiles(round_seconds).median,
                        Quartiles(bare_seconds).median, ratio.median};
  std::printf(
      "%-11s %d worker%s  round %7.1f ms   bare loop %7.1f ms   ratio "
      "%.3f (%.3f to %.3f)\n",
      architecture.c_str(), workers, workers == 1 ? " " : "s",
      figures.round * 1e3, figures.bare * 1e3, ratio.median, ratio.first,
      ratio.third);
  std::fflush(stdout);
  return figures;
}

void Report(const std::string& architecture, int64_t rounds, double goal,
            const std::shared_ptr<const ExampleStore>& data) {
  const Figures one = Measure(architecture, 1, rounds, data);
  const Figures two = Measure(architecture, 2, rounds, data);
  const double worst = std::max(one.ratio, two.ratio);
  const double scaling = one.round / two.round;
  const double bare_scaling = one.bare / two.bare;
  std::printf(
      "%-11s round over bare loop %.3f (goal: at most %.2f)   two workers "
      "scale %.2f, bare %.2f: %.2f of it (goal: at least 0.95)\n",
      architecture.c_str(), worst, goal, scaling, bare_scaling,
      scaling / bare_scaling);
}

int Main(int argc, char** argv) {
  const int64_t rounds = argc > 1 ? std::atoll(argv[1]) : 20;
  const std::string_view only = argc > 2 ? argv[2] : "";
  if (rounds < 1) {
    std::fprintf(stderr,
                 "usage: simulator_benchmark [ROUNDS [ARCHITECTURE]]\n");
    return 2;
  }
  std::string name;
  const std::shared_ptr<const ExampleStore> data = OpenData(&name);
  std::printf("%s, %lld rounds, %s, %s\n", name.c_str(),
              static_cast<long long>(rounds), TorchVersion().c_str(),
              CpuKind().c_str());
  std::fflush(stdout);
  if (only.empty() || only == "2nn") Report("2nn", rounds, 1.15, data);
  if (only.empty() || only == "fedavg-cnn") {
    Report("fedavg-cnn", std::max<int64_t>(3, rounds / 4), 1.05, data);
  }
  return 0;
}

}  // namespace
}  // namespace mledge

int main(int argc, char** argv) { return mledge::Main(argc, argv); }
