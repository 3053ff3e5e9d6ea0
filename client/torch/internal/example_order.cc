#include "mledge/client/torch/internal/example_order.h"

#include <algorithm>
#include <numeric>

namespace mledge {
namespace {

// Far more blocks of randomness than one shuffle can use.
constexpr int kBlocksOfShuffleBits = 40;

// Shuffle number `index` of the stream: 0 picks the examples, epoch e is e + 1.
void ShuffleAt(const TrainingRandom& start, int64_t index,
               std::vector<int64_t>* values) {
  TrainingRandom::State state = start.state();
  state.counter = static_cast<uint64_t>(index) << kBlocksOfShuffleBits;
  state.used = 0;
  TrainingRandom(state).Shuffle(std::span<int64_t>(*values));
}

}  // namespace

void ExampleOrder::Start(const TrainingPlan& plan, int64_t store_size) {
  shuffle_ = plan.kind == TrainingPlan::Kind::kTrain;
  random_.emplace(TrainingRandom::Stream{.task_seed = plan.task_seed,
                                         .device = plan.device,
                                         .ordinal = plan.ordinal,
                                         .purpose = "shuffle"});
  examples_.resize(static_cast<size_t>(store_size));
  std::iota(examples_.begin(), examples_.end(), int64_t{0});
  if (plan.max_examples > 0 && plan.max_examples < store_size) {
    ShuffleAt(*random_, 0, &examples_);
    examples_.resize(static_cast<size_t>(plan.max_examples));
    std::sort(examples_.begin(), examples_.end());
  }
  BeginEpoch(0);
}

void ExampleOrder::BeginEpoch(int64_t epoch) {
  epoch_ = epoch;
  position_ = 0;
  order_ = examples_;
  if (shuffle_) ShuffleAt(*random_, epoch + 1, &order_);
}

std::span<const int64_t> ExampleOrder::NextBatch(int64_t batch_size) {
  if (epoch_ended()) BeginEpoch(epoch_ + 1);
  const int64_t left = size() - position_;
  const int64_t count = batch_size == 0 ? left : std::min(batch_size, left);
  const auto batch = std::span<const int64_t>(order_).subspan(
      static_cast<size_t>(position_), static_cast<size_t>(count));
  position_ += count;
  return batch;
}

bool ExampleOrder::Seek(int64_t epoch, int64_t position) {
  constexpr int64_t kMaxEpoch = int64_t{1} << (63 - kBlocksOfShuffleBits);
  if (epoch < 0 || epoch >= kMaxEpoch || position < 0 || position > size()) {
    return false;
  }
  BeginEpoch(epoch);
  position_ = position;
  return true;
}

}  // namespace mledge
