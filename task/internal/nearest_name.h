#ifndef MLEDGE_TASK_INTERNAL_NEAREST_NAME_H_
#define MLEDGE_TASK_INTERNAL_NEAREST_NAME_H_

#include <string>
#include <string_view>
#include <vector>

// What somebody may have meant who wrote a name that does not exist.

namespace mledge::task_internal {

// `did you mean "epochs"? (valid: epochs, steps)`; the question only where a
// name is near (Levenshtein distance of at most a third of the longer one, or
// 2), and "none is valid here" where `valid` is empty.
std::string SuggestName(std::string_view wrong,
                        const std::vector<std::string>& valid);

}  // namespace mledge::task_internal

#endif  // MLEDGE_TASK_INTERNAL_NEAREST_NAME_H_
