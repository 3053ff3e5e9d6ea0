#include "mledge/tests/benchmarks/bare_training_loop.h"

#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/torch.h>

#include <vector>

namespace mledge {
namespace {

// PyTorch's default initial values; a convolution's strides say channels-last,
// also where it has one channel only.
at::Tensor MakeParameter(std::vector<int64_t> shape, int64_t fan_in) {
  at::Tensor values;
  if (shape.size() == 4) {
    values = at::empty_strided(shape, {shape[1] * shape[2] * shape[3], 1,
                                       shape[3] * shape[1], shape[1]});
  } else {
    values = at::empty(shape);
  }
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  return values.uniform_(-bound, bound).set_requires_grad(true);
}

}  // namespace

struct BareTrainingLoop::State {
  bool convolutional = false;
  std::vector<at::Tensor> parameters;
  std::vector<at::Tensor> initial;

  void AddLayer(std::vector<int64_t> shape) {
    int64_t fan_in = 1;
    for (size_t i = 1; i < shape.size(); ++i) fan_in *= shape[i];
    const int64_t outputs = shape[0];
    parameters.push_back(MakeParameter(std::move(shape), fan_in));
    parameters.push_back(MakeParameter({outputs}, fan_in));
  }

  at::Tensor Forward(at::Tensor x) const {
    const auto& p = parameters;
    if (!convolutional) {
      x = at::relu(at::linear(x, p[0], p[1]));
      x = at::relu(at::linear(x, p[2], p[3]));
      return at::linear(x, p[4], p[5]);
    }
    x = at::conv2d(x, p[0], p[1], 1, 2);
    x = at::relu(at::max_pool2d(x, 2));
    x = at::conv2d(x, p[2], p[3], 1, 2);
    x = at::relu(at::max_pool2d(x, 2));
    x = at::relu(at::linear(x.flatten(1), p[4], p[5]));
    return at::linear(x, p[6], p[7]);
  }
};

BareTrainingLoop::BareTrainingLoop(const std::string& architecture)
    : state_(std::make_unique<State>()) {
  state_->convolutional = architecture == "fedavg-cnn";
  if (state_->convolutional) {
    state_->AddLayer({32, 1, 5, 5});
    state_->AddLayer({64, 32, 5, 5});
    state_->AddLayer({512, 64 * 7 * 7});
    state_->AddLayer({10, 512});
  } else {
    TORCH_CHECK(architecture == "2nn", "no floor for ", architecture);
    state_->AddLayer({200, 784});
    state_->AddLayer({200, 200});
    state_->AddLayer({10, 200});
  }
  for (const at::Tensor& parameter : state_->parameters) {
    state_->initial.push_back(parameter.detach().clone());
  }
}

BareTrainingLoop::~BareTrainingLoop() = default;

double BareTrainingLoop::Run(std::span<const float> inputs,
                             std::span<const int64_t> labels,
                             int64_t batch_size, double learning_rate) {
  at::set_num_threads(1);
  torch::jit::setGraphExecutorOptimize(false);
  {
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < state_->parameters.size(); ++i) {
      state_->parameters[i].copy_(state_->initial[i]);
    }
  }
  const auto count = static_cast<int64_t>(labels.size());
  double loss_sum = 0;
  for (int64_t begin = 0; begin < count; begin += batch_size) {
    const int64_t size = std::min(batch_size, count - begin);
    float* data = const_cast<float*>(inputs.data()) + begin * 784;
    const at::Tensor x = state_->convolutional
                             ? at::from_blob(data, {size, 1, 28, 28},
                                             {784, 1, 28, 1}, at::kFloat)
                             : at::from_blob(data, {size, 784}, at::kFloat);
    const at::Tensor y = at::from_blob(
        const_cast<int64_t*>(labels.data()) + begin, {size}, at::kLong);
    const at::Tensor loss = at::cross_entropy_loss(state_->Forward(x), y);
    loss.backward();
    const at::NoGradGuard no_grad;
    for (at::Tensor& parameter : state_->parameters) {
      parameter.add_(parameter.grad(), -learning_rate);
      parameter.mutable_grad().reset();
    }
    loss_sum += loss.item<float>();
  }
  return loss_sum;
}

}  // namespace mledge
