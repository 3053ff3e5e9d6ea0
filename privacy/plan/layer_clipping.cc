#include "mledge/privacy/plan/layer_clipping.h"

#include <string_view>
#include <utility>

#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr std::string_view kField = "privacy.layer_clip_norms";

// `layer` is the parameter itself, or the module that it belongs to.
bool Holds(std::string_view layer, std::string_view parameter) {
  return parameter == layer ||
         (parameter.size() > layer.size() && parameter.starts_with(layer) &&
          parameter[layer.size()] == '.');
}

void Add(const ParameterEntry& entry, ClippedLayer* layer) {
  std::vector<ClippedLayer::Range>& ranges = layer->ranges;
  if (!ranges.empty() &&
      ranges.back().begin + ranges.back().size == entry.offset) {
    ranges.back().size += entry.extent();
    return;
  }
  ranges.push_back({entry.offset, entry.extent()});
}

}  // namespace

absl::StatusOr<std::vector<ClippedLayer>> ResolveClippedLayers(
    const v1::Privacy& privacy, const ParameterLayout& layout) {
  std::vector<ClippedLayer> layers;
  for (const v1::LayerClipNorm& layer : privacy.layer_clip_norms()) {
    layers.push_back({.name = layer.layer(), .clip_norm = layer.clip_norm()});
  }
  if (layers.empty()) return layers;
  for (const ParameterEntry& entry : layout.entries()) {
    // Aliases and what never leaves the device have no clip norm.
    if (entry.extent() == 0 || entry.offset >= layout.shared_size()) continue;
    ClippedLayer* found = nullptr;
    for (ClippedLayer& layer : layers) {
      if (!Holds(layer.name, entry.name)) continue;
      if (found != nullptr) {
        return absl::InvalidArgumentError(
            StrCat(kField, ": parameter ", entry.name, " is in the layers ",
                   found->name, " and ", layer.name, "; leave one out"));
      }
      found = &layer;
    }
    if (found == nullptr) {
      return absl::InvalidArgumentError(StrCat(
          kField, ": parameter ", entry.name, " is in no layer; add `{layer: ",
          entry.name, ", clip_norm: 0.1}`, or its module"));
    }
    Add(entry, found);
  }
  for (const ClippedLayer& layer : layers) {
    if (!layer.ranges.empty()) continue;
    return absl::InvalidArgumentError(
        StrCat(kField, ": layer ", layer.name,
               " has no parameter that devices send; the model's begin with ",
               layout.entries()[0].name));
  }
  return layers;
}

}  // namespace mledge
