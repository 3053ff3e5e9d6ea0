#ifndef MLEDGE_TASK_INTERNAL_DATA_SOURCE_H_
#define MLEDGE_TASK_INTERNAL_DATA_SOURCE_H_

#include <string>
#include <string_view>

#include "mledge/task/internal/problems.h"
#include "mledge/v1/data.pb.h"

// The part that task files and device configurations share: where examples
// come from.

namespace mledge::task_internal {

// Fills in defaults and checks; `path` is the field that holds `source`.
void ValidateDataSource(const std::string& path, v1::DataSource* source,
                        Problems* problems);

// Resolves the file names in `source` against the folder of the file `from`.
void ResolveDataSource(std::string_view from, v1::DataSource* source);

}  // namespace mledge::task_internal

#endif  // MLEDGE_TASK_INTERNAL_DATA_SOURCE_H_
