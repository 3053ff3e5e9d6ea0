#include "mledge/model/torch/script_parameters.h"

#include <optional>
#include <unordered_map>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

absl::StatusOr<ElementType> ElementTypeOf(const std::string& name,
                                          const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return ElementType::kFloat32;
    case at::kDouble:
      return ElementType::kFloat64;
    case at::kHalf:
      return ElementType::kFloat16;
    case at::kLong:
      return ElementType::kInt64;
    case at::kInt:
      return ElementType::kInt32;
    case at::kBool:
      return ElementType::kBool;
    case at::kByte:
      return ElementType::kUint8;
    default:
      return absl::InvalidArgumentError(
          StrCat("\"", name, "\" has elements of type ",
                 c10::toString(tensor.scalar_type()),
                 ": convert the model with model.float() before exporting it"));
  }
}

bool SharesAllMemory(const at::Tensor& a, const at::Tensor& b) {
  return a.numel() > 0 && a.data_ptr() == b.data_ptr() &&
         a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         a.strides() == b.strides();
}

class Lister {
 public:
  absl::Status Visit(const torch::jit::Module& module,
                     const std::string& prefix) {
    const c10::ClassTypePtr type = module.type();
    for (size_t slot = 0; slot < type->numAttributes(); ++slot) {
      const std::string name = StrCat(prefix, type->getAttributeName(slot));
      const c10::IValue value = module._ivalue()->getSlot(slot);
      if (type->getAttribute(slot)->is_module()) {
        MLEDGE_RETURN_IF_ERROR(
            Visit(torch::jit::Module(value.toObject()), StrCat(name, ".")));
      } else if (value.isTensor() && value.toTensor().defined()) {
        MLEDGE_RETURN_IF_ERROR(Add(name, value.toTensor(),
                                   type->is_parameter(slot), module._ivalue(),
                                   slot));
      }
    }
    return absl::OkStatus();
  }

  std::vector<ScriptParameter> Take() && { return std::move(found_); }

 private:
  absl::Status Add(const std::string& name, const at::Tensor& tensor,
                   bool is_parameter,
                   c10::intrusive_ptr<c10::ivalue::Object> owner, size_t slot) {
    ScriptParameter parameter;
    ParameterEntry& entry = parameter.entry;
    entry.name = name;
    entry.shape = tensor.sizes().vec();
    MLEDGE_ASSIGN_OR_RETURN(entry.element_type, ElementTypeOf(name, tensor));
    const bool is_float32 = entry.element_type == ElementType::kFloat32;
    if (is_parameter && tensor.requires_grad()) {
      if (!is_float32) {
        return absl::InvalidArgumentError(
            StrCat("the trainable parameter \"", name, "\" is ",
                   ToString(entry.element_type),
                   ", but training is in float32: convert the model with "
                   "model.float() before exporting it"));
      }
      entry.role = ParameterRole::kTrainable;
    } else if (is_parameter) {
      entry.role = ParameterRole::kFrozen;
    } else {
      entry.role = is_float32 ? ParameterRole::kAveragedBuffer
                              : ParameterRole::kLocalBuffer;
    }
    for (const ScriptParameter& earlier : found_) {
      if (earlier.entry.alias_of.empty() &&
          SharesAllMemory(earlier.value, tensor)) {
        entry.alias_of = earlier.entry.name;
        entry.role = earlier.entry.role;
        break;
      }
    }
    parameter.owner = std::move(owner);
    parameter.slot = slot;
    parameter.value = tensor;
    found_.push_back(std::move(parameter));
    return absl::OkStatus();
  }

  std::vector<ScriptParameter> found_;
};

}  // namespace

absl::StatusOr<std::vector<ScriptParameter>> ListScriptParameters(
    const torch::jit::Module& module) {
  Lister lister;
  MLEDGE_RETURN_IF_ERROR(lister.Visit(module, ""));
  return std::move(lister).Take();
}

void StripValues(const std::vector<ScriptParameter>& parameters) {
  std::unordered_map<std::string, at::Tensor> stripped;
  for (const ScriptParameter& parameter : parameters) {
    const ParameterEntry& entry = parameter.entry;
    if (entry.element_type != ElementType::kFloat32) continue;
    if (entry.alias_of.empty()) {
      stripped[entry.name] =
          at::zeros({1}, at::kFloat)
              .expand(entry.shape)
              .detach()
              .set_requires_grad(parameter.value.requires_grad());
    }
    parameter.owner->setSlot(
        parameter.slot,
        stripped.at(entry.alias_of.empty() ? entry.name : entry.alias_of));
  }
}

}  // namespace mledge
