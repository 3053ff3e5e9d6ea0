#include "mledge/model/torch/script_model.h"

#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include <istream>
#include <optional>
#include <sstream>
#include <streambuf>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/model/torch/internal/operator_check.h"
#include "mledge/model/torch/torch_error.h"
#include "mledge/model/torch/torch_runtime.h"

namespace mledge {
namespace {

// Reads bytes where they lie.
class ViewBuffer final : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view bytes) {
    char* begin = const_cast<char*>(bytes.data());
    setg(begin, begin, begin + bytes.size());
  }

 protected:
  pos_type seekoff(off_type offset, std::ios_base::seekdir direction,
                   std::ios_base::openmode) override {
    char* from = direction == std::ios_base::beg   ? eback()
                 : direction == std::ios_base::cur ? gptr()
                                                   : egptr();
    if (offset < eback() - from || offset > egptr() - from) {
      return pos_type(off_type(-1));
    }
    setg(eback(), from + offset, egptr());
    return pos_type(gptr() - eback());
  }
  pos_type seekpos(pos_type position, std::ios_base::openmode mode) override {
    return seekoff(off_type(position), std::ios_base::beg, mode);
  }
};

// LibTorch names an operator that it does not know on the first line, as
// "Unknown builtin op: aten::foo."
absl::Status LoadError(const std::exception& error) {
  constexpr std::string_view kUnknown = "Unknown builtin op: ";
  const std::string_view text = error.what();
  const size_t found = text.find(kUnknown);
  if (found == std::string_view::npos) {
    return absl::InvalidArgumentError(
        StrCat("not a complete TorchScript file (save it with "
               "torch.jit.script(model).save(path)): ",
               ShortMessage(error)));
  }
  std::string_view name = text.substr(found + kUnknown.size());
  name = name.substr(0, name.find_first_of("\n "));
  if (name.ends_with('.')) name.remove_suffix(1);
  return absl::InvalidArgumentError(
      StrCat("the model uses the operator ", name, ", which ", TorchVersion(),
             " does not have: use a newer LibTorch, or export the model "
             "without it"));
}

bool HasCalls(const torch::jit::Block* block) {
  for (const torch::jit::Node* node : block->nodes()) {
    if (node->kind() == c10::prim::CallFunction ||
        node->kind() == c10::prim::CallMethod) {
      return true;
    }
    for (const torch::jit::Block* inner : node->blocks()) {
      if (HasCalls(inner)) return true;
    }
  }
  return false;
}

// With the profiling executor off (PrepareTrainingThread), LibTorch inlines one
// level at a time. TorchScript has no recursion; what is left at the end is a
// call through an interface.
void InlineAll(torch::jit::Graph* graph) {
  constexpr int kMaxDepth = 64;
  for (int depth = 0; depth < kMaxDepth && HasCalls(graph->block()); ++depth) {
    torch::jit::Inline(*graph);
  }
}

// The values of forward's arguments after self and the input.
absl::StatusOr<std::vector<c10::IValue>> CheckSchema(
    const c10::FunctionSchema& schema) {
  const std::vector<c10::Argument>& arguments = schema.arguments();
  if (arguments.size() < 2 ||
      !c10::TensorType::get()->isSubtypeOf(*arguments[1].type())) {
    return absl::InvalidArgumentError(
        "forward has to take one tensor, the batch of inputs");
  }
  if (schema.returns().size() != 1 ||
      !schema.returns()[0].type()->isSubtypeOf(*c10::TensorType::get())) {
    return absl::InvalidArgumentError(
        StrCat("forward has to return one tensor, but returns ",
               schema.returns().empty() ? std::string("nothing")
                                        : schema.returns()[0].type()->str()));
  }
  std::vector<c10::IValue> defaults;
  for (size_t i = 2; i < arguments.size(); ++i) {
    if (!arguments[i].default_value()) {
      return absl::InvalidArgumentError(
          StrCat("forward's argument \"", arguments[i].name(),
                 "\" has no default value: only the first is given"));
    }
    defaults.push_back(*arguments[i].default_value());
  }
  return defaults;
}

}  // namespace

ScriptModel::ScriptModel(torch::jit::Module module, torch::jit::Code code,
                         std::vector<c10::IValue> defaults,
                         std::vector<std::string> notices)
    : module_(std::move(module)),
      code_(std::move(code)),
      defaults_(std::move(defaults)),
      notices_(std::move(notices)) {}

absl::StatusOr<std::unique_ptr<ScriptModel>> ScriptModel::Load(
    std::string_view code) {
  PrepareTrainingThread();
  ViewBuffer buffer(code);
  std::istream stream(&buffer);
  std::optional<torch::jit::Module> module;
  try {
    module = torch::jit::load(stream, at::kCPU);
  } catch (const std::exception& error) {
    return LoadError(error);
  }
  return FromModule(*std::move(module));
}

absl::StatusOr<std::unique_ptr<ScriptModel>> ScriptModel::FromModule(
    torch::jit::Module module) {
  PrepareTrainingThread();
  return CatchTorch(
      absl::StatusCode::kInvalidArgument, "cannot prepare the model",
      [&]() -> absl::StatusOr<std::unique_ptr<ScriptModel>> {
        const auto method = module.find_method("forward");
        if (!method) {
          return absl::InvalidArgumentError("the model has no forward method");
        }
        MLEDGE_ASSIGN_OR_RETURN(std::vector<c10::IValue> defaults,
                                CheckSchema(method->function().getSchema()));
        // Our own copy of the code: the module's methods stay as they were and
        // are never run.
        std::shared_ptr<torch::jit::Graph> graph = method->graph()->copy();
        InlineAll(graph.get());
        torch::jit::ConstantPropagationImmutableTypes(graph);
        torch::jit::EliminateDeadCode(graph);
        std::vector<std::string> notices;
        MLEDGE_RETURN_IF_ERROR(
            CheckAndRewriteGraph(module, graph.get(), &notices));
        torch::jit::runRequiredPasses(graph);
        return std::unique_ptr<ScriptModel>(new ScriptModel(
            std::move(module), torch::jit::Code(graph, "forward"),
            std::move(defaults), std::move(notices)));
      });
}

at::Tensor ScriptModel::Run(const at::Tensor& input) {
  stack_.clear();
  stack_.emplace_back(module_._ivalue());
  stack_.emplace_back(input);
  stack_.insert(stack_.end(), defaults_.begin(), defaults_.end());
  torch::jit::InterpreterState(code_).run(stack_);
  at::Tensor output = std::move(stack_.back()).toTensor();
  stack_.clear();
  return output;
}

absl::StatusOr<std::string> SerializeModule(const torch::jit::Module& module) {
  return CatchTorch(absl::StatusCode::kInternal, "cannot serialize the model",
                    [&]() -> absl::StatusOr<std::string> {
                      std::ostringstream stream;
                      module.save(stream);
                      return stream.str();
                    });
}

}  // namespace mledge
