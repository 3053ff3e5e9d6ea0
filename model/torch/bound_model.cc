#include "mledge/model/torch/bound_model.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/model/torch/script_parameters.h"

namespace mledge {
namespace {

absl::Status LayoutMismatch(std::string_view what) {
  return absl::InvalidArgumentError(
      StrCat("the package's code and layout do not belong together: ", what,
             "; import or create the model again"));
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t extent : shape) {
    StrAppend(&text, text.size() > 1 ? ", " : "", extent);
  }
  return text + "]";
}

absl::Status CompareEntry(const ParameterEntry& code,
                          const ParameterEntry* layout) {
  if (layout == nullptr) {
    return LayoutMismatch(StrCat("\"", code.name, "\" is in the code only"));
  }
  if (code.shape != layout->shape) {
    return LayoutMismatch(StrCat("\"", code.name, "\" is ",
                                 ShapeText(code.shape), " in the code and ",
                                 ShapeText(layout->shape), " in the layout"));
  }
  if (code.element_type != layout->element_type) {
    return LayoutMismatch(StrCat(
        "\"", code.name, "\" is ", ToString(code.element_type),
        " in the code and ", ToString(layout->element_type), " in the layout"));
  }
  if (code.alias_of != layout->alias_of) {
    return LayoutMismatch(StrCat("\"", code.name,
                                 "\" shares its values with another tensor in "
                                 "one of them and not in the other"));
  }
  return absl::OkStatus();
}

at::Tensor ViewOf(float* data, at::IntArrayRef sizes, at::IntArrayRef strides) {
  return at::from_blob(data, sizes, strides, at::kFloat);
}

}  // namespace

BoundModel::BoundModel(const ModelPackage& package,
                       std::unique_ptr<ScriptModel> model)
    : layout_(package.layout),
      input_(package.input),
      output_elements_(package.output.element_count()),
      channels_last_(package.channels_last),
      model_(std::move(model)),
      flat_(static_cast<size_t>(package.layout->size())) {}

absl::StatusOr<std::unique_ptr<BoundModel>> BoundModel::Create(
    const ModelPackage& package) {
  if (package.layout == nullptr) {
    return absl::InvalidArgumentError("the package has no layout");
  }
  MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<ScriptModel> model,
                          ScriptModel::Load(package.code));
  std::unique_ptr<BoundModel> bound(new BoundModel(package, std::move(model)));
  MLEDGE_RETURN_IF_ERROR(bound->Bind());
  if (bound->trainables_.empty()) {
    return absl::InvalidArgumentError(
        "the model has no trainable parameter: its file was exported with "
        "requires_grad off");
  }
  return bound;
}

absl::Status BoundModel::Bind() {
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<ScriptParameter> parameters,
                          ListScriptParameters(model_->module()));
  if (parameters.size() != layout_->entries().size()) {
    return LayoutMismatch(StrCat("the code has ", parameters.size(),
                                 " tensors, the layout ",
                                 layout_->entries().size()));
  }
  std::unordered_map<std::string, at::Tensor> bound;
  for (const ScriptParameter& parameter : parameters) {
    const ParameterEntry* entry = layout_->Find(parameter.entry.name);
    MLEDGE_RETURN_IF_ERROR(CompareEntry(parameter.entry, entry));
    Slot slot{.owner = parameter.owner, .index = parameter.slot};
    if (entry->element_type != ElementType::kFloat32) {
      slot.bound = parameter.value.clone(at::MemoryFormat::Contiguous);
      slot.owner->setSlot(slot.index, slot.bound);
      non_float_.push_back({slot, slot.bound.clone()});
      continue;
    }
    if (entry->alias_of.empty()) {
      bound[entry->name] = Bind(*entry, entry->role);
      slot.bound = bound[entry->name];
    } else {
      // CompareEntry has made sure that the owner came before.
      slot.bound = bound.at(entry->alias_of);
    }
    slot.owner->setSlot(slot.index, slot.bound);
    if (!slot.bound.requires_grad()) buffers_.push_back(std::move(slot));
  }
  std::sort(
      permuted_.begin(), permuted_.end(),
      [](const Permuted& a, const Permuted& b) { return a.offset < b.offset; });
  return absl::OkStatus();
}

at::Tensor BoundModel::Bind(const ParameterEntry& entry, ParameterRole role) {
  float* data = flat_.span().data() + entry.offset;
  at::Tensor tensor;
  if (channels_last_ && entry.shape.size() == 4) {
    const std::vector<int64_t>& s = entry.shape;
    // Explicit strides: contiguous(ChannelsLast) leaves a weight with one
    // channel as it is, and one such weight makes the kernels convert.
    tensor = ViewOf(data, s, {s[1] * s[2] * s[3], 1, s[3] * s[1], s[1]});
    if (s[1] > 1) {
      permuted_.push_back({.offset = entry.offset,
                           .outer = s[0],
                           .channels = s[1],
                           .inner = s[2] * s[3]});
    }
  } else {
    tensor = at::from_blob(data, entry.shape, at::kFloat);
  }
  if (role == ParameterRole::kTrainable || role == ParameterRole::kPersonal) {
    tensor.set_requires_grad(true);
    trainables_.push_back({.tensor = tensor,
                           .offset = entry.offset,
                           .count = entry.element_count()});
  }
  return tensor;
}

void BoundModel::ResetSlots() {
  for (const Slot& slot : buffers_) {
    slot.owner->setSlot(slot.index, slot.bound);
  }
  for (const NonFloat& state : non_float_) {
    state.slot.bound.copy_(state.initial);
    state.slot.owner->setSlot(state.slot.index, state.slot.bound);
  }
}

void BoundModel::Load(std::span<const float> values) {
  float* flat = flat_.span().data();
  std::memcpy(flat, values.data(), values.size_bytes());
  for (const Permuted& p : permuted_) {
    const float* from = values.data() + p.offset;
    float* to = flat + p.offset;
    for (int64_t o = 0; o < p.outer; ++o) {
      for (int64_t i = 0; i < p.inner; ++i) {
        for (int64_t c = 0; c < p.channels; ++c) {
          *to++ = from[(o * p.channels + c) * p.inner + i];
        }
      }
    }
  }
  at::NoGradGuard no_grad;
  ResetSlots();
}

void BoundModel::StoreDifference(std::span<const float> base,
                                 std::span<float> output) const {
  const float* flat = flat_.span().data();
  const auto end = static_cast<int64_t>(output.size());
  int64_t position = 0;
  const auto copy_until = [&](int64_t until) {
    for (; position < until; ++position) {
      output[position] = flat[position] - base[position];
    }
  };
  for (const Permuted& p : permuted_) {
    if (p.offset >= end) break;
    copy_until(p.offset);
    float* to = output.data() + p.offset;
    for (int64_t o = 0; o < p.outer; ++o) {
      for (int64_t i = 0; i < p.inner; ++i) {
        for (int64_t c = 0; c < p.channels; ++c, ++position) {
          to[(o * p.channels + c) * p.inner + i] =
              flat[position] - base[position];
        }
      }
    }
  }
  copy_until(end);
}

at::Tensor BoundModel::Forward(int64_t size, std::span<const float> inputs,
                               std::span<const int64_t> index_inputs) {
  std::vector<int64_t> sizes{size};
  sizes.insert(sizes.end(), input_.shape.begin(), input_.shape.end());
  at::Tensor input;
  if (input_.kind == TensorSpec::Kind::kIndex) {
    input = at::from_blob(const_cast<int64_t*>(index_inputs.data()), sizes,
                          at::kLong);
  } else {
    float* data = const_cast<float*>(inputs.data());
    if (channels_last_ && sizes.size() == 4 && sizes[1] == 1) {
      // One channel: both formats are the same bytes.
      input = ViewOf(data, sizes, {sizes[2] * sizes[3], 1, sizes[3], 1});
    } else {
      input = at::from_blob(data, sizes, at::kFloat);
      if (channels_last_ && sizes.size() == 4) {
        input = input.contiguous(at::MemoryFormat::ChannelsLast);
      }
    }
  }
  at::Tensor output = model_->Run(input);
  TORCH_CHECK(output.scalar_type() == at::kFloat,
              "the model's output is not float32 but ", output.scalar_type());
  TORCH_CHECK(output.dim() >= 1 && output.size(0) == size &&
                  output.numel() == size * output_elements_,
              "the model's output for ", size, " examples has the shape ",
              output.sizes(), ", and the package says ", output_elements_,
              " values an example");
  return output;
}

void BoundModel::CollectBuffers() {
  for (const Slot& slot : buffers_) {
    const at::Tensor& held = slot.owner->getSlot(slot.index).toTensor();
    if (held.is_same(slot.bound)) continue;
    at::NoGradGuard no_grad;
    slot.bound.copy_(held);
    slot.owner->setSlot(slot.index, slot.bound);
  }
}

std::string BoundModel::SaveNonFloatState() const {
  std::string bytes;
  for (const NonFloat& state : non_float_) {
    const at::Tensor held =
        state.slot.owner->getSlot(state.slot.index).toTensor().contiguous();
    bytes.append(static_cast<const char*>(held.data_ptr()), held.nbytes());
  }
  return bytes;
}

absl::Status BoundModel::RestoreNonFloatState(std::string_view bytes) {
  size_t expected = 0;
  for (const NonFloat& state : non_float_) expected += state.initial.nbytes();
  if (bytes.size() != expected) {
    return absl::InvalidArgumentError(
        StrCat("the state beside the parameters has ", bytes.size(),
               " bytes instead of ", expected));
  }
  for (const NonFloat& state : non_float_) {
    const size_t size = state.initial.nbytes();
    std::memcpy(state.slot.bound.data_ptr(), bytes.data(), size);
    state.slot.owner->setSlot(state.slot.index, state.slot.bound);
    bytes.remove_prefix(size);
  }
  return absl::OkStatus();
}

}  // namespace mledge
