#include "mledge/model/torch/torch_runtime.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/torch.h>
#include <torch/version.h>

#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace mledge {
namespace {

// LibTorch does not set OpenBLAS's own thread count, and with two threads
// OpenBLAS sums in another order than with one.
void LimitOpenBlas() {
  using SetThreads = void (*)(int);
  if (void* symbol = dlsym(RTLD_DEFAULT, "openblas_set_num_threads")) {
    reinterpret_cast<SetThreads>(symbol)(1);
  }
}

std::string ProcessorName() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(line, absl::MaxSplits(':', 1));
    const absl::string_view name = absl::StripAsciiWhitespace(field.first);
    // Arm's kernel prints no model name, only the part's number.
    if (name == "model name" || name == "CPU part") {
      return std::string(absl::StripAsciiWhitespace(field.second));
    }
  }
  return "unknown processor";
}

}  // namespace

void PrepareTrainingThread() {
  static const bool once = (LimitOpenBlas(), true);
  thread_local const bool prepared = [] {
    at::set_num_threads(1);
    torch::jit::setGraphExecutorOptimize(false);
    at::globalContext().setFlushDenormal(true);
    return true;
  }();
  static_cast<void>(once);
  static_cast<void>(prepared);
}

std::string TorchVersion() { return absl::StrCat("LibTorch ", TORCH_VERSION); }

std::string CpuKind() {
  // The only place where both supported versions name the kernels in use.
  constexpr absl::string_view kField = "CPU capability usage: ";
  std::string capability = "unknown kernels";
  for (absl::string_view line : absl::StrSplit(at::show_config(), '\n')) {
    const size_t position = line.find(kField);
    if (position != absl::string_view::npos) {
      capability = std::string(
          absl::StripAsciiWhitespace(line.substr(position + kField.size())));
    }
  }
  return absl::StrCat(ProcessorName(), ", ", capability);
}

}  // namespace mledge
