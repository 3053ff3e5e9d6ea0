#include "mledge/model/torch/internal/operator_check.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/model/torch/internal/dropout_operator.h"

namespace mledge {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

// Base names whose every overload draws. Overloads that take a generator, and
// in LibTorch 2 those tagged as drawing, are found without a list; 1.13 has few
// tags.
constexpr std::array kRandomOperators = {"alpha_dropout",
                                         "alpha_dropout_",
                                         "feature_alpha_dropout",
                                         "feature_alpha_dropout_",
                                         "_fused_dropout",
                                         "native_dropout",
                                         "bernoulli",
                                         "bernoulli_",
                                         "binomial",
                                         "cauchy_",
                                         "exponential_",
                                         "geometric_",
                                         "log_normal_",
                                         "multinomial",
                                         "normal",
                                         "normal_",
                                         "poisson",
                                         "rand",
                                         "rand_like",
                                         "randint",
                                         "randint_like",
                                         "randn",
                                         "randn_like",
                                         "randperm",
                                         "random_",
                                         "rrelu",
                                         "rrelu_",
                                         "rrelu_with_noise",
                                         "uniform_",
                                         "_sample_dirichlet",
                                         "_standard_gamma",
                                         "manual_seed",
                                         "seed",
                                         "initial_seed"};

// Fused operators with dropout inside, and the name of its probability.
constexpr std::array<std::pair<const char*, const char*>, 12> kFusedOperators =
    {{{"lstm", "dropout"},
      {"gru", "dropout"},
      {"rnn_tanh", "dropout"},
      {"rnn_relu", "dropout"},
      {"_cudnn_rnn", "dropout"},
      {"miopen_rnn", "dropout"},
      {"scaled_dot_product_attention", "dropout_p"},
      {"_scaled_dot_product_attention", "dropout_p"},
      {"_scaled_dot_product_attention_math", "dropout_p"},
      {"_scaled_dot_product_flash_attention", "dropout_p"},
      {"_scaled_dot_product_flash_attention_for_cpu", "dropout_p"},
      {"_scaled_dot_product_efficient_attention", "dropout_p"}}};

std::string Place(const Node* node) {
  const auto position = node->sourceRange().file_line_col();
  if (!position) return "";
  return StrCat(" (", std::get<0>(*position), ":", std::get<1>(*position), ")");
}

absl::Status Refuse(const Node* node, std::string_view why) {
  return absl::InvalidArgumentError(StrCat(
      "the model uses ", node->kind().toQualString(), Place(node), ", ", why));
}

// The value that an input has in every run: a constant, or an attribute of the
// module, which forward cannot change (SetAttr is refused).
std::optional<c10::IValue> FixedValue(const torch::jit::Module& module,
                                      const Graph& graph, const Value* value) {
  if (const auto constant = torch::jit::toIValue(value)) return *constant;
  std::vector<std::string> path;
  const Value* object = value;
  while (object->node()->kind() == c10::prim::GetAttr) {
    path.push_back(object->node()->s(c10::attr::name));
    object = object->node()->input(0);
  }
  if (path.empty() || object != graph.inputs().at(0)) return std::nullopt;
  c10::IValue current(module._ivalue());
  for (auto name = path.rbegin(); name != path.rend(); ++name) {
    if (!current.isObject()) return std::nullopt;
    current = current.toObject()->getAttr(*name);
  }
  // `training` is the one attribute that the trainer changes.
  if (path.front() == "training") return std::nullopt;
  return current;
}

bool IsZero(const c10::IValue& value) {
  return (value.isDouble() && value.toDouble() == 0) ||
         (value.isInt() && value.toInt() == 0);
}

// Whether `value` is zero whichever way the model's branches go.
bool AlwaysZero(const torch::jit::Module& module, const Graph& graph,
                const Value* value) {
  if (const auto fixed = FixedValue(module, graph, value)) {
    return IsZero(*fixed);
  }
  const Node* node = value->node();
  if (node->kind() != c10::prim::If) return false;
  return std::all_of(
      node->blocks().begin(), node->blocks().end(), [&](const Block* block) {
        return AlwaysZero(module, graph, block->outputs().at(value->offset()));
      });
}

const Value* InputNamed(const Node* node, const char* name) {
  const c10::FunctionSchema* schema = node->maybeSchema();
  if (schema == nullptr) return nullptr;
  const auto index = schema->argumentIndexWithName(name);
  if (!index || static_cast<size_t>(*index) >= node->inputs().size()) {
    return nullptr;
  }
  return node->input(static_cast<size_t>(*index));
}

bool Draws(const Node* node) {
  const std::string_view name = node->kind().toUnqualString();
  if (std::find(kRandomOperators.begin(), kRandomOperators.end(), name) !=
      kRandomOperators.end()) {
    return true;
  }
  const c10::FunctionSchema* schema = node->maybeSchema();
  if (schema == nullptr) return false;
  for (const c10::Argument& argument : schema->arguments()) {
    if (argument.name() == "generator") return true;
  }
  const auto handle =
      c10::Dispatcher::singleton().findSchema(schema->operator_name());
  return handle && handle->hasTag(at::Tag::nondeterministic_seeded);
}

class Checker {
 public:
  Checker(const torch::jit::Module& module, Graph* graph,
          std::vector<std::string>* notices)
      : module_(module), graph_(graph), notices_(notices) {}

  absl::Status Check(Block* block) {
    for (Node* node : block->nodes()) {
      MLEDGE_RETURN_IF_ERROR(CheckControl(node));
      for (Block* inner : node->blocks()) MLEDGE_RETURN_IF_ERROR(Check(inner));
      if (node->kind().is_aten()) MLEDGE_RETURN_IF_ERROR(CheckOperator(node));
    }
    return absl::OkStatus();
  }

  void DestroyReplaced() {
    for (Node* node : dead_) node->destroy();
    dead_.clear();
  }

 private:
  absl::Status CheckControl(const Node* node) {
    const c10::Symbol kind = node->kind();
    if (kind == c10::prim::CallFunction || kind == c10::prim::CallMethod) {
      return Refuse(node,
                    "a call that is only known when it runs (an interface or a "
                    "recursion), so it cannot be searched for random "
                    "operators: call the module directly");
    }
    if (kind == c10::prim::PythonOp) {
      return Refuse(node, "which needs Python: express it in TorchScript");
    }
    // Tasks would run on threads without our settings.
    if (node->hasAttribute(c10::attr::Subgraph)) {
      return Refuse(node,
                    "which runs in parallel: call the function directly "
                    "instead of torch.jit.fork");
    }
    if (kind == c10::prim::SetAttr &&
        !node->input(1)->type()->isSubtypeOf(*c10::TensorType::get())) {
      return absl::InvalidArgumentError(StrCat(
          "the model changes its attribute \"", node->s(c10::attr::name),
          "\" of type ", node->input(1)->type()->str(), Place(node),
          ", and only tensors are carried from round to round: make it a "
          "registered buffer"));
    }
    return absl::OkStatus();
  }

  absl::Status CheckOperator(Node* node) {
    const std::string_view name = node->kind().toUnqualString();
    if (name == "from_file") {
      return Refuse(node, "which reads a file of the device: remove it");
    }
    if (const c10::Symbol replacement = DropoutReplacement(node->kind());
        replacement != c10::Symbol()) {
      NoticeFixedMode(node, "train", "dropout");
      Replace(node, replacement);
      return absl::OkStatus();
    }
    for (const auto& [fused, argument] : kFusedOperators) {
      if (name == fused) return CheckFused(node, argument);
    }
    if (name == "batch_norm") {
      NoticeFixedMode(node, "training", "batch normalization");
      return absl::OkStatus();
    }
    if (Draws(node)) {
      return Refuse(node,
                    "which draws random numbers that nobody can repeat: use "
                    "nn.Dropout, which is replaced by a repeatable one, or "
                    "remove it");
    }
    return absl::OkStatus();
  }

  absl::Status CheckFused(const Node* node, const char* argument) {
    const Value* probability = InputNamed(node, argument);
    // Recurrent layers drop between layers only.
    const Value* layers = InputNamed(node, "num_layers");
    if (layers != nullptr) {
      const auto count = FixedValue(module_, *graph_, layers);
      if (count && count->isInt() && count->toInt() == 1) {
        return absl::OkStatus();
      }
    }
    if (probability == nullptr || AlwaysZero(module_, *graph_, probability)) {
      return absl::OkStatus();
    }
    return Refuse(node,
                  "whose built-in dropout draws random numbers that nobody "
                  "can repeat: create the module with dropout=0 and put a "
                  "separate nn.Dropout before or after it");
  }

  // A traced model has its mode as a constant.
  void NoticeFixedMode(const Node* node, const char* argument,
                       const char* what) {
    const Value* mode = InputNamed(node, argument);
    if (mode == nullptr) return;
    const auto fixed = FixedValue(module_, *graph_, mode);
    if (!fixed || !fixed->isBool() || fixed->toBool()) return;
    const std::string notice =
        StrCat("the model's ", what,
               " is off in training too, because it was traced in evaluation "
               "mode: export it with torch.jit.script if that is not meant");
    if (std::find(notices_->begin(), notices_->end(), notice) ==
        notices_->end()) {
      notices_->push_back(notice);
    }
  }

  void Replace(Node* node, c10::Symbol replacement) {
    Node* ours = graph_->create(replacement, node->inputs(), 1);
    ours->setSourceRange(node->sourceRange());
    ours->output()->setType(node->output()->type());
    ours->insertAfter(node);
    node->output()->replaceAllUsesWith(ours->output());
    // Destroyed later: now it would be pulled from under the iteration.
    dead_.push_back(node);
  }

  const torch::jit::Module& module_;
  Graph* const graph_;
  std::vector<std::string>* const notices_;
  std::vector<Node*> dead_;
};

}  // namespace

absl::Status CheckAndRewriteGraph(const torch::jit::Module& module,
                                  Graph* graph,
                                  std::vector<std::string>* notices) {
  Checker checker(module, graph, notices);
  MLEDGE_RETURN_IF_ERROR(checker.Check(graph->block()));
  checker.DestroyReplaced();
  return absl::OkStatus();
}

}  // namespace mledge
