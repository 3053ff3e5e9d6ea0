#ifndef MLEDGE_MODEL_TORCH_TORCH_RUNTIME_H_
#define MLEDGE_MODEL_TORCH_TORCH_RUNTIME_H_

#include <string>

// LibTorch as a library: what it is called, and the settings that every thread
// needs before its first tensor, so that equal input gives equal bits. Plain
// header; all functions are thread-safe.

namespace mledge {

// One intra-op thread, no profiling executor (both are per thread in LibTorch)
// and, once a process, one OpenBLAS thread where LibTorch computes with it.
// Without it a thread computes with all cores and gives other bits. Denormal
// numbers become zero: the gradients of a model that fits its examples well are
// full of them, and processors compute with them many times slower. Cheap to
// repeat. Thread pools call it as their on_start; trainers, predictors and the
// import call it themselves.
void PrepareTrainingThread();

// "LibTorch 2.13.0", for manifests and `mledge version`.
std::string TorchVersion();

// The kind of CPU as far as LibTorch's kernels depend on it:
// "Intel(R) Xeon(R) Processor @ 2.50GHz, AVX512". Equal bits are promised for
// one LibTorch and one kind of CPU.
std::string CpuKind();

}  // namespace mledge

#endif  // MLEDGE_MODEL_TORCH_TORCH_RUNTIME_H_
