#ifndef MLEDGE_CLIENT_EXAMPLE_SOURCES_H_
#define MLEDGE_CLIENT_EXAMPLE_SOURCES_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "mledge/client/example_store.h"
#include "mledge/v1/data.pb.h"

// From a DataSource (device configurations, simulations) to the store that it
// describes, restricted to its index file if it names one.

namespace mledge {

struct OpenExamplesOptions {
  // Classes that the model knows: IDX labels outside are refused, naming file
  // and offset. 0: unknown yet.
  int64_t classes = 0;
};

// Relative paths are relative to `base_dir` (empty: the working folder).
// INVALID_ARGUMENT, DATA_LOSS: see idx_source.h, csv_source.h, subset_store.h;
// also: no source is named. NOT_FOUND, PERMISSION_DENIED: the path.
absl::StatusOr<std::shared_ptr<const ExampleStore>> OpenExamples(
    const v1::DataSource& source, std::string_view base_dir,
    const OpenExamplesOptions& options = {});

// `path`, seen from `base_dir` unless it is absolute.
std::string PathFrom(std::string_view base_dir, std::string_view path);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_EXAMPLE_SOURCES_H_
