#include <time.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "mledge/client/local_trainer.h"
#include "mledge/client/torch/torch_trainer.h"
#include "mledge/core/training_random.h"
#include "mledge/model/torch/built_in_models.h"
#include "mledge/model/torch/torch_runtime.h"
#include "mledge/tests/benchmarks/bare_training_loop.h"

// What local training costs beyond bare LibTorch: whole trainings of one device
// (600 examples of 28×28, batch 10, one epoch, plain SGD; Start to Finish)
// through LocalTrainer, against the loop in bare_training_loop.h, taking turns
// in the same run. Of the rounds, each side's fastest counts: the rest is other
// programs. With two threads, both train at once.
//
//   trainer_benchmark [ROUNDS]        exit status 1 when a ratio is above its
//                                     bound (2nn 1.10, fedavg-cnn 1.03)

namespace mledge {
namespace {

constexpr int64_t kExamples = 600;
constexpr int64_t kPixels = 784;
constexpr int64_t kClasses = 10;
constexpr int64_t kBatchSize = 10;
constexpr double kLearningRate = 0.05;

class ArrayStore final : public ExampleStore {
 public:
  ArrayStore() {
    spec_.shape = {28, 28};
    TrainingRandom random({.purpose = "benchmark"});
    for (int64_t i = 0; i < kExamples * kPixels; ++i) {
      inputs_.push_back(random.UniformFloat());
    }
    for (int64_t i = 0; i < kExamples; ++i) {
      labels_.push_back(static_cast<int64_t>(random.UniformBelow(kClasses)));
    }
  }
  int64_t size() const override { return kExamples; }
  const TensorSpec& input() const override { return spec_; }
  int64_t classes() const override { return kClasses; }
  int64_t label_width() const override { return 1; }
  absl::Status Read(std::span<const int64_t> positions,
                    ExampleBatch* batch) const override {
    batch->size = static_cast<int64_t>(positions.size());
    batch->inputs.resize(positions.size() * kPixels);
    batch->class_labels.resize(positions.size());
    for (size_t i = 0; i < positions.size(); ++i) {
      const float* row = inputs_.data() + positions[i] * kPixels;
      std::copy(row, row + kPixels, batch->inputs.data() + i * kPixels);
      batch->class_labels[i] = labels_[positions[i]];
    }
    return absl::OkStatus();
  }
  std::span<const float> inputs() const { return inputs_; }
  std::span<const int64_t> labels() const { return labels_; }

 private:
  TensorSpec spec_;
  std::vector<float> inputs_;
  std::vector<int64_t> labels_;
};

void DieUnless(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "trainer_benchmark: %s\n", status.ToString().c_str());
  std::exit(2);
}

// One thread's two contestants.
struct Worker {
  std::unique_ptr<LocalTrainer> trainer;
  std::unique_ptr<BareTrainingLoop> bare;
};

void TrainOnce(LocalTrainer* trainer, const ModelPackage& package,
               const ArrayStore& store) {
  TrainingPlan plan;
  plan.device = "device-1";
  plan.batch_size = kBatchSize;
  plan.learning_rate = kLearningRate;
  DieUnless(trainer->Start(plan, package.initial_parameters, &store));
  DieUnless(trainer->Step(std::numeric_limits<int64_t>::max()).status());
  DieUnless(trainer->Finish().status());
}

struct Seconds {
  double wall = HUGE_VAL;  // until all workers are done
  double cpu = HUGE_VAL;   // of the slowest worker's thread

  void TakeLeast(const Seconds& other) {
    wall = std::min(wall, other.wall);
    cpu = std::min(cpu, other.cpu);
  }
};

double ThreadCpuSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) +
         static_cast<double>(now.tv_nsec) * 1e-9;
}

// All workers run `body`, started together.
Seconds Measure(std::vector<Worker>& workers,
                const std::function<void(Worker&)>& body) {
  using Clock = std::chrono::steady_clock;
  std::barrier start(static_cast<std::ptrdiff_t>(workers.size()) + 1);
  std::vector<double> cpu(workers.size());
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < workers.size(); ++i) {
    threads.emplace_back([&, i] {
      PrepareTrainingThread();
      start.arrive_and_wait();
      const double begin = ThreadCpuSeconds();
      body(workers[i]);
      cpu[i] = ThreadCpuSeconds() - begin;
    });
  }
  start.arrive_and_wait();
  const auto begin = Clock::now();
  threads.clear();
  return {std::chrono::duration<double>(Clock::now() - begin).count(),
          *std::max_element(cpu.begin(), cpu.end())};
}

bool Compare(const std::string& architecture, int threads, int rounds,
             double bound) {
  const auto package = CreateBuiltInModel({.architecture = architecture}, 1);
  DieUnless(package.status());
  const ArrayStore store;
  const auto factory = CreateTorchTrainerFactory();
  std::vector<Worker> workers(static_cast<size_t>(threads));
  for (Worker& worker : workers) {
    auto trainer = factory->CreateTrainer(*package);
    DieUnless(trainer.status());
    worker.trainer = *std::move(trainer);
    worker.bare = std::make_unique<BareTrainingLoop>(architecture);
  }
  Seconds ours;
  Seconds floor;
  for (int round = 0; round < rounds; ++round) {
    floor.TakeLeast(Measure(workers, [&](Worker& worker) {
      worker.bare->Run(store.inputs(), store.labels(), kBatchSize,
                       kLearningRate);
    }));
    ours.TakeLeast(Measure(workers, [&](Worker& worker) {
      TrainOnce(worker.trainer.get(), *package, store);
    }));
  }
  const double steps = static_cast<double>(kExamples / kBatchSize);
  const double ratio = ours.wall / floor.wall;
  const bool within = ratio <= bound;
  std::printf(
      "%-10s %d thread(s): trainer %.1f µs a step, bare loop %.1f, ratio %.3f "
      "(at most %.2f); CPU time %.1f and %.1f, ratio %.3f%s\n",
      architecture.c_str(), threads, ours.wall / steps * 1e6,
      floor.wall / steps * 1e6, ratio, bound, ours.cpu / steps * 1e6,
      floor.cpu / steps * 1e6, ours.cpu / floor.cpu, within ? "" : "  ABOVE");
  std::fflush(stdout);
  return within;
}

int Main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 12;
  std::printf("%s, %s\n", TorchVersion().c_str(), CpuKind().c_str());
  bool within = true;
  for (const int threads : {1, 2}) {
    within &= Compare("2nn", threads, 4 * rounds, 1.10);
    within &= Compare("fedavg-cnn", threads, rounds, 1.03);
  }
  return within ? 0 : 1;
}

}  // namespace
}  // namespace mledge

int main(int argc, char** argv) { return mledge::Main(argc, argv); }
