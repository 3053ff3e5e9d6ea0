#ifndef MLEDGE_CLIENT_TORCH_INTERNAL_EXAMPLE_ORDER_H_
#define MLEDGE_CLIENT_TORCH_INTERNAL_EXAMPLE_ORDER_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "mledge/client/local_trainer.h"
#include "mledge/core/training_random.h"

// In which order a training sees its examples: shuffled anew each epoch, from
// public randomness keyed by task seed, device and ordinal. An epoch's order
// depends on its number alone, so a snapshot holds a position and no order.
// Plain C++. One thread at a time.

namespace mledge {

class ExampleOrder {
 public:
  // Begins at the first epoch. Evaluation keeps the store's order (of the
  // examples that `max_examples` leaves). Precondition: store_size > 0.
  void Start(const TrainingPlan& plan, int64_t store_size);

  // Examples of one epoch.
  int64_t size() const { return static_cast<int64_t>(examples_.size()); }
  int64_t epoch() const { return epoch_; }        // from 0
  int64_t position() const { return position_; }  // in the epoch
  bool epoch_ended() const { return position_ == size(); }

  // Positions of the next batch, at most `batch_size` (0: all); begins the next
  // epoch where one has ended. Valid until the next call.
  std::span<const int64_t> NextBatch(int64_t batch_size);

  // Goes to a place that epoch() and position() named; false if there is none.
  bool Seek(int64_t epoch, int64_t position);

 private:
  void BeginEpoch(int64_t epoch);

  bool shuffle_ = false;
  std::optional<TrainingRandom> random_;  // the stream's start
  std::vector<int64_t> examples_;         // those that take part
  std::vector<int64_t> order_;            // of the current epoch
  int64_t epoch_ = 0;
  int64_t position_ = 0;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_TORCH_INTERNAL_EXAMPLE_ORDER_H_
