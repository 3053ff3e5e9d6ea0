#ifndef MLEDGE_MODEL_TORCH_BOUND_MODEL_H_
#define MLEDGE_MODEL_TORCH_BOUND_MODEL_H_

#include <torch/script.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/model/package.h"
#include "mledge/model/torch/script_model.h"

// A package's module whose tensors are views into one flat buffer: what trains,
// evaluates and predicts. Loading a version of the model is one copy. Includes
// LibTorch: for model/torch and client/torch only. One thread at a time.
//
// The flat buffer has the layout's offsets. Inside the range of a 4-d weight
// its order is the kernels' (channels-last where the package says so): Load and
// StoreDifference translate, everything else works on the buffer as it lies.

namespace mledge {

class BoundModel {
 public:
  // A tensor that training changes by gradient.
  struct Trainable {
    at::Tensor tensor;  // view into the flat buffer, requires grad
    int64_t offset = 0;
    int64_t count = 0;
  };

  // INVALID_ARGUMENT: code that does not load (ScriptModel), or whose tensors
  // are not those of the package's layout, naming the first that differs.
  static absl::StatusOr<std::unique_ptr<BoundModel>> Create(
      const ModelPackage& package);

  // `values` are in the layout's order; sets non-float state back to what the
  // package holds. Precondition: `values` has the layout's size.
  void Load(std::span<const float> values);
  // output = this buffer minus `base` (another buffer in this one's order), in
  // the layout's order, for the first output.size() elements. Precondition:
  // they end at an entry's end.
  void StoreDifference(std::span<const float> base,
                       std::span<float> output) const;

  std::span<float> flat() { return flat_.span(); }
  std::span<const float> flat() const { return flat_.span(); }
  const std::vector<Trainable>& trainables() const { return trainables_; }
  ScriptModel& model() { return *model_; }

  // The output for `size` examples whose values lie row by row at `inputs` or
  // `index_inputs`, whichever the input's kind asks for; contiguous rows,
  // float32. Throws what LibTorch throws, also when the output is not of the
  // package's shape.
  at::Tensor Forward(int64_t size, std::span<const float> inputs,
                     std::span<const int64_t> index_inputs);
  // A module may replace a buffer's tensor instead of changing it: brings such
  // values back into the flat buffer. Call after each training step.
  void CollectBuffers();

  // State that has no place in the flat vector (a batch counter), as bytes.
  std::string SaveNonFloatState() const;
  // INVALID_ARGUMENT when the bytes have another length.
  absl::Status RestoreNonFloatState(std::string_view bytes);

 private:
  struct Slot {
    c10::intrusive_ptr<c10::ivalue::Object> owner;
    size_t index = 0;
    at::Tensor bound;  // what the slot holds between steps
  };
  struct NonFloat {
    Slot slot;
    at::Tensor initial;
  };
  // A range whose order differs from the layout's: [outer][channels][inner]
  // there, [outer][inner][channels] here.
  struct Permuted {
    int64_t offset = 0;
    int64_t outer = 0;
    int64_t channels = 0;
    int64_t inner = 0;
  };

  BoundModel(const ModelPackage& package, std::unique_ptr<ScriptModel> model);
  absl::Status Bind();
  at::Tensor Bind(const ParameterEntry& entry, ParameterRole role);
  void ResetSlots();

  const std::shared_ptr<const ParameterLayout> layout_;
  const TensorSpec input_;
  const int64_t output_elements_;
  const bool channels_last_;
  std::unique_ptr<ScriptModel> model_;
  AlignedFloats flat_;
  std::vector<Trainable> trainables_;
  std::vector<Permuted> permuted_;  // by ascending offset
  std::vector<Slot> buffers_;
  std::vector<NonFloat> non_float_;
};

}  // namespace mledge

#endif  // MLEDGE_MODEL_TORCH_BOUND_MODEL_H_
