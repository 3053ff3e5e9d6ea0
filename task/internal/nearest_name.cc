#include "mledge/task/internal/nearest_name.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "absl/strings/str_join.h"
#include "mledge/core/strings.h"

namespace mledge::task_internal {
namespace {

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string SuggestName(std::string_view wrong,
                        const std::vector<std::string>& valid) {
  if (valid.empty()) return "none is valid here";
  // Longer names are near nothing; no need to measure them.
  const std::string* nearest = nullptr;
  size_t nearest_distance = 0;
  if (wrong.size() <= 64) {
    for (const std::string& name : valid) {
      const size_t distance = EditDistance(wrong, name);
      const size_t near =
          std::max<size_t>(2, std::max(wrong.size(), name.size()) / 3);
      if (distance <= near &&
          (nearest == nullptr || distance < nearest_distance)) {
        nearest = &name;
        nearest_distance = distance;
      }
    }
  }
  const std::string all = StrCat("valid: ", absl::StrJoin(valid, ", "));
  if (nearest == nullptr) return all;
  return StrCat("did you mean \"", *nearest, "\"? (", all, ")");
}

}  // namespace mledge::task_internal
