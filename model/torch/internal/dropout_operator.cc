#include "mledge/model/torch/internal/dropout_operator.h"

#include <torch/library.h>

#include <cmath>
#include <span>

#include "mledge/model/torch/dropout_scope.h"

namespace mledge {
namespace {

// Words of a step: 2^36 dropped elements a step, 2^30 steps. A step's masks
// depend on its number alone, so a snapshot needs no position.
constexpr int kWordsOfStepBits = 36;

struct ThreadStream {
  TrainingRandom::State base;
  uint64_t next_word = 0;
  bool active = false;
};
thread_local ThreadStream thread_stream;

// Fills `mask` with 0 and 1/(1-p); a value is kept with probability 1-p.
void FillMask(std::span<float> mask, double p) {
  TrainingRandom::State state = thread_stream.base;
  state.counter += thread_stream.next_word / 4;
  state.used = static_cast<uint32_t>(thread_stream.next_word % 4);
  thread_stream.next_word += mask.size();
  TrainingRandom random(state);
  const auto first_kept = static_cast<uint64_t>(std::ldexp(p, 32));
  const float scale = p < 1 ? static_cast<float>(1 / (1 - p)) : 0.0f;
  for (float& value : mask) {
    value = random.NextU32() >= first_kept ? scale : 0.0f;
  }
}

bool Drops(const at::Tensor& input, double p, bool train) {
  TORCH_CHECK(p >= 0 && p <= 1,
              "dropout probability has to be between 0 and 1, but got ", p);
  return train && p > 0 && thread_stream.active && input.numel() > 0;
}

// The mask has one value per element, in logical order, so that it does not
// depend on the memory format.
at::Tensor MaskFor(const at::Tensor& input, double p, bool whole_channels) {
  at::Tensor mask;
  if (whole_channels) {
    TORCH_CHECK(input.dim() >= 2,
                "feature dropout requires at least 2 dimensions");
    std::vector<int64_t> sizes(static_cast<size_t>(input.dim()), 1);
    sizes[0] = input.size(0);
    sizes[1] = input.size(1);
    mask = at::empty(sizes, at::kFloat);
  } else {
    mask = at::empty(input.sizes(), at::kFloat);
  }
  FillMask({mask.data_ptr<float>(), static_cast<size_t>(mask.numel())}, p);
  return mask.to(input.scalar_type());
}

at::Tensor Dropout(const at::Tensor& input, double p, bool train) {
  return Drops(input, p, train) ? input * MaskFor(input, p, false) : input;
}
at::Tensor& DropoutInPlace(at::Tensor& input, double p, bool train) {
  if (Drops(input, p, train)) input.mul_(MaskFor(input, p, false));
  return input;
}
at::Tensor FeatureDropout(const at::Tensor& input, double p, bool train) {
  return Drops(input, p, train) ? input * MaskFor(input, p, true) : input;
}
at::Tensor& FeatureDropoutInPlace(at::Tensor& input, double p, bool train) {
  if (Drops(input, p, train)) input.mul_(MaskFor(input, p, true));
  return input;
}

TORCH_LIBRARY(mledge, library) {
  library.def("dropout(Tensor input, float p, bool train) -> Tensor", Dropout);
  library.def("dropout_(Tensor(a!) input, float p, bool train) -> Tensor(a!)",
              DropoutInPlace);
  library.def("feature_dropout(Tensor input, float p, bool train) -> Tensor",
              FeatureDropout);
  library.def(
      "feature_dropout_(Tensor(a!) input, float p, bool train) -> Tensor(a!)",
      FeatureDropoutInPlace);
}

}  // namespace

DropoutScope::DropoutScope(const TrainingRandom* stream, int64_t step) {
  thread_stream.base = stream->state();
  thread_stream.base.counter = 0;
  thread_stream.base.used = 0;
  thread_stream.next_word = static_cast<uint64_t>(step) << kWordsOfStepBits;
  thread_stream.active = true;
}

DropoutScope::~DropoutScope() { thread_stream.active = false; }

c10::Symbol DropoutReplacement(c10::Symbol kind) {
  for (const char* name :
       {"dropout", "dropout_", "feature_dropout", "feature_dropout_"}) {
    if (kind == c10::Symbol::fromQualString(std::string("aten::") + name)) {
      return c10::Symbol::fromQualString(std::string("mledge::") + name);
    }
  }
  return c10::Symbol();
}

}  // namespace mledge
