#include <algorithm>
#include <utility>

#include "mledge/aggregation/update_file.h"

namespace mledge {

UpdateView UpdateView::Of(const Update& update, UpdateContext context) {
  UpdateView view{.context = std::move(context), .weight = update.weight};
  for (const UpdateSection& section : update.sections) {
    view.sections.push_back({section.name, section.values.span()});
  }
  view.scalars = update.scalars;
  return view;
}

Update UpdateView::ToUpdate() const {
  Update update;
  update.weight = weight;
  update.scalars = scalars;
  for (const Section& section : sections) {
    UpdateSection copy{section.name, AlignedFloats(section.values.size())};
    std::ranges::copy(section.values, copy.values.span().begin());
    update.sections.push_back(std::move(copy));
  }
  return update;
}

const UpdateView::Section* UpdateView::FindSection(
    std::string_view name) const {
  for (const Section& section : sections) {
    if (section.name == name) return &section;
  }
  return nullptr;
}

}  // namespace mledge
