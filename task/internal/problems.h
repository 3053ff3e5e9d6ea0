#ifndef MLEDGE_TASK_INTERNAL_PROBLEMS_H_
#define MLEDGE_TASK_INTERNAL_PROBLEMS_H_

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "mledge/core/strings.h"

// Everything that is wrong with a message, one line each, so that somebody who
// made three mistakes learns of three.

namespace mledge::task_internal {

class Problems {
 public:
  // `what` says what was found and what to write instead.
  void Add(std::string_view field, std::string_view what) {
    lines_.push_back(StrCat(field, ": ", what));
  }
  // Adds a problem unless `good`; returns `good`.
  bool Require(bool good, std::string_view field, std::string_view what) {
    if (!good) Add(field, what);
    return good;
  }

  void RequirePositive(std::string_view field, double value,
                       std::string_view example) {
    Require(std::isfinite(value) && value > 0, field,
            StrCat("is ", value,
                   "; write a value greater than 0, such "
                   "as ",
                   example));
  }
  void RequireNotNegative(std::string_view field, double value) {
    Require(std::isfinite(value) && value >= 0, field,
            StrCat("is ", value, "; write 0 or more"));
  }
  // 0 ≤ value < 1: momentum and decay rates.
  void RequireFraction(std::string_view field, double value) {
    Require(value >= 0 && value < 1, field,
            StrCat("is ", value, "; write at least 0 and less than 1"));
  }

  absl::Status ToStatus() const {
    return lines_.empty()
               ? absl::OkStatus()
               : absl::InvalidArgumentError(absl::StrJoin(lines_, "\n"));
  }

 private:
  std::vector<std::string> lines_;
};

}  // namespace mledge::task_internal

#endif  // MLEDGE_TASK_INTERNAL_PROBLEMS_H_
