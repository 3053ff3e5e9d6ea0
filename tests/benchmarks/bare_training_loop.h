#ifndef MLEDGE_TESTS_BENCHMARKS_BARE_TRAINING_LOOP_H_
#define MLEDGE_TESTS_BENCHMARKS_BARE_TRAINING_LOOP_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>

// The floor under the trainer and the simulator: the shortest training loop
// that one writes by hand on bare LibTorch with autograd, without anything of
// ours. Same architectures, batch, memory format and per-thread settings; reads
// its batches from one array in order, and computes the loss and nothing else.
// Plain header.

namespace mledge {

class BareTrainingLoop {
 public:
  // `architecture`: "2nn" or "fedavg-cnn". Dies on anything else. One thread
  // at a time; call Run from the thread that is to be measured.
  explicit BareTrainingLoop(const std::string& architecture);
  ~BareTrainingLoop();

  // Plain SGD over all examples once, from parameters that are set back first:
  // what one device does in one epoch. Returns the sum of the batches' losses.
  double Run(std::span<const float> inputs, std::span<const int64_t> labels,
             int64_t batch_size, double learning_rate);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_BENCHMARKS_BARE_TRAINING_LOOP_H_
