#include "mledge/client/example_sources.h"

#include <utility>
#include <vector>

#include "mledge/client/csv_source.h"
#include "mledge/client/idx_source.h"
#include "mledge/client/subset_store.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {

std::string PathFrom(std::string_view base_dir, std::string_view path) {
  if (base_dir.empty() || path.starts_with('/')) return std::string(path);
  return StrCat(base_dir, base_dir.ends_with('/') ? "" : "/", path);
}

absl::StatusOr<std::shared_ptr<const ExampleStore>> OpenExamples(
    const v1::DataSource& source, std::string_view base_dir,
    const OpenExamplesOptions& options) {
  std::shared_ptr<const ExampleStore> store;
  switch (source.source_case()) {
    case v1::DataSource::kIdx: {
      const v1::IdxData& idx = source.idx();
      if (idx.images().empty() || idx.labels().empty()) {
        return absl::InvalidArgumentError(
            "data source: an IDX source names two files, `images` and "
            "`labels`");
      }
      IdxStore::Options idx_options{.mean = idx.mean(),
                                    .classes = options.classes};
      // 0 is what an unset field reads as; it stands for 1.
      if (idx.standard_deviation() != 0) {
        idx_options.standard_deviation = idx.standard_deviation();
      }
      MLEDGE_ASSIGN_OR_RETURN(store,
                              IdxStore::Open(PathFrom(base_dir, idx.images()),
                                             PathFrom(base_dir, idx.labels()),
                                             std::move(idx_options)));
      break;
    }
    case v1::DataSource::kCsv: {
      if (source.csv().file().empty()) {
        return absl::InvalidArgumentError(
            "data source: a CSV source names its `file`");
      }
      MLEDGE_ASSIGN_OR_RETURN(
          store,
          OpenCsv(PathFrom(base_dir, source.csv().file()), source.csv()));
      break;
    }
    case v1::DataSource::SOURCE_NOT_SET:
      return absl::InvalidArgumentError(
          "data source: neither `idx` nor `csv` is given");
  }
  if (source.index_file().empty()) return store;
  const std::string path = PathFrom(base_dir, source.index_file());
  MLEDGE_ASSIGN_OR_RETURN(std::vector<int64_t> positions,
                          ReadIndexFile(path, store->size()));
  if (positions.empty()) {
    return absl::InvalidArgumentError(
        StrCat(path, ": names no example; a device needs at least one"));
  }
  return std::make_shared<const SubsetStore>(std::move(store),
                                             std::move(positions));
}

}  // namespace mledge
