#include "mledge/core/update.h"

namespace mledge {

const UpdateSection* Update::FindSection(std::string_view name) const {
  for (const UpdateSection& section : sections) {
    if (section.name == name) return &section;
  }
  return nullptr;
}

double Update::Scalar(std::string_view name) const {
  for (const UpdateScalar& scalar : scalars) {
    if (scalar.name == name) return scalar.value;
  }
  return 0;
}

}  // namespace mledge
