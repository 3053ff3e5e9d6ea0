#include "mledge/tests/model/torch/script_fixture.h"

#include <torch/library.h>
#include <torch/script.h>
#include <torch/torch.h>

#include <map>
#include <sstream>
#include <utility>

#include "mledge/core/training_random.h"
#include "mledge/model/torch/torch_error.h"

namespace mledge {
namespace {

using Kind = FixtureTensor::Kind;

at::Tensor MakeValues(const FixtureTensor& tensor, TrainingRandom* random) {
  if (tensor.kind == Kind::kCounter) return at::zeros(tensor.shape, at::kLong);
  at::Tensor values = at::empty(tensor.shape, at::kFloat);
  float* data = values.data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    data[i] = random->UniformFloat() - 0.5f;
  }
  return values.set_requires_grad(tensor.kind == Kind::kParameter);
}

}  // namespace

absl::StatusOr<std::string> CompileTorchScript(
    const std::vector<FixtureTensor>& tensors, std::string_view source) {
  return CatchTorch(
      absl::StatusCode::kFailedPrecondition,
      "this LibTorch cannot compile the fixture",
      [&]() -> absl::StatusOr<std::string> {
        torch::jit::Module module("__torch__.Fixture");
        TrainingRandom random({.task_seed = 11, .purpose = "fixture"});
        std::map<std::string, at::Tensor> made;
        for (const FixtureTensor& tensor : tensors) {
          made[tensor.name] = tensor.tied_to.empty()
                                  ? MakeValues(tensor, &random)
                                  : made.at(tensor.tied_to);
          const bool buffer =
              tensor.kind == Kind::kBuffer || tensor.kind == Kind::kCounter;
          module.register_parameter(tensor.name, made[tensor.name], buffer);
        }
        module.register_attribute("training", c10::BoolType::get(), true);
        module.register_attribute("ratio", c10::FloatType::get(), 0.5);
        module.define(std::string(source));
        std::ostringstream stream;
        module.save(stream);
        return stream.str();
      });
}

absl::StatusOr<std::string> CompileLstmModel() {
  return CompileTorchScript({{"w_ih", {20, 4}},
                             {"w_hh", {20, 5}},
                             {"b_ih", {20}},
                             {"b_hh", {20}},
                             {"weight", {3, 5}},
                             {"bias", {3}}},
                            R"(
def forward(self, x: Tensor) -> Tensor:
  h = torch.zeros([1, x.size(0), 5])
  y, hn, cn = torch.lstm(x, [h, h], [self.w_ih, self.w_hh, self.b_ih, self.b_hh], True, 1, 0.0, self.training, False, True)
  y = torch.dropout(torch.select(y, 1, 5), self.ratio, self.training)
  return torch.linear(y, self.weight, self.bias)
)");
}

absl::StatusOr<std::string> CompileAttentionModel() {
  return CompileTorchScript(
      {{"qkv", {24, 8}}, {"weight", {3, 8}}, {"bias", {3}}}, R"(
def forward(self, x: Tensor) -> Tensor:
  b = x.size(0)
  p = torch.linear(x, self.qkv).reshape([b, 6, 3, 2, 4]).permute([2, 0, 3, 1, 4])
  y = torch.scaled_dot_product_attention(p[0], p[1], p[2], None, 0.0, False)
  y = y.transpose(1, 2).reshape([b, 6, 8]) + x
  y = torch.dropout(y, self.ratio, self.training)
  return torch.linear(torch.mean(y, [1]), self.weight, self.bias)
)");
}

absl::StatusOr<std::string> CompileBatchNormModel() {
  return CompileTorchScript({{"kernel", {4, 2, 3, 3}},
                             {"scale", {4}},
                             {"shift", {4}},
                             {"running_mean", {4}, Kind::kBuffer},
                             {"running_var", {4}, Kind::kBuffer},
                             {"count", {}, Kind::kCounter},
                             {"weight", {3, 144}},
                             {"bias", {3}}},
                            R"(
def forward(self, x: Tensor) -> Tensor:
  x = torch.conv2d(x, self.kernel, None, padding=[1, 1])
  if self.training:
    self.count = self.count + 1
  x = torch.batch_norm(x, self.scale, self.shift, self.running_mean, self.running_var, self.training, 0.1, 1e-05, False)
  return torch.linear(torch.flatten(torch.relu(x), 1), self.weight, self.bias)
)");
}

absl::StatusOr<std::string> CompileModelWithForgottenOperator() {
  return CatchTorch(
      absl::StatusCode::kFailedPrecondition,
      "this LibTorch cannot compile the fixture",
      []() -> absl::StatusOr<std::string> {
        torch::Library library(torch::Library::DEF, "mledge_fixture", {},
                               __FILE__, __LINE__);
        library.def("mystery(Tensor x) -> Tensor",
                    [](const at::Tensor& x) { return x.clone(); });
        torch::jit::Module module("__torch__.Fixture");
        module.register_parameter(
            "weight", at::zeros({3, 4}).set_requires_grad(true), false);
        module.define(
            "def forward(self, x: Tensor) -> Tensor:\n"
            "  return torch.relu(torch.linear(x, self.weight))\n");
        // The compiler knows no way to write a foreign operator.
        auto graph = module.get_method("forward").graph();
        for (torch::jit::Node* node : graph->nodes()) {
          if (node->kind() != c10::aten::relu) continue;
          torch::jit::Node* foreign = graph->create(
              c10::Symbol::fromQualString("mledge_fixture::mystery"),
              node->inputs(), 1);
          foreign->insertBefore(node);
          node->output()->replaceAllUsesWith(foreign->output());
          node->destroy();
          break;
        }
        std::ostringstream stream;
        module.save(stream);
        return stream.str();
      });
}

double DrawFromGlobalGenerator() { return at::rand({1}).item<double>(); }

void SeedGlobalGenerator(uint64_t seed) { torch::manual_seed(seed); }

}  // namespace mledge
