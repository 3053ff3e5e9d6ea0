#ifndef MLEDGE_CLIENT_TORCH_TORCH_TRAINER_H_
#define MLEDGE_CLIENT_TORCH_TORCH_TRAINER_H_

#include <cstdint>
#include <memory>

#include "mledge/client/local_trainer.h"

// Step 2 of the way of the data, on LibTorch: stepwise local training,
// evaluation and prediction for TorchScript packages (model/torch). Plain
// header. Training is deterministic: equal plan, parameters and examples give
// equal bits on one LibTorch and one kind of CPU, whatever thread runs the
// steps; see model/torch/torch_runtime.h for what threads have to set.

namespace mledge {

struct TorchTrainerOptions {
  // Examples that one evaluation or prediction step runs through the model.
  // Above 0; part of what fixes an evaluation's last bits.
  int64_t evaluation_batch_size = 128;
};

// The factory is stateless; what it makes does not refer to it.
std::unique_ptr<TrainerFactory> CreateTorchTrainerFactory(
    TorchTrainerOptions options = {});

}  // namespace mledge

#endif  // MLEDGE_CLIENT_TORCH_TORCH_TRAINER_H_
