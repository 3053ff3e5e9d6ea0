#ifndef MLEDGE_TESTS_SUPPORT_SHARED_DATA_H_
#define MLEDGE_TESTS_SUPPORT_SHARED_DATA_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

// Real data sets that a machine may or may not have. A test without its data
// skips and says why:
//
//   const absl::StatusOr<std::string> mnist = FindSharedData("mnist");
//   if (!mnist.ok()) GTEST_SKIP() << mnist.status().message();

namespace mledge {

// `name` under MLEDGE_SHARED_DATA (environment; default ../shared/data beside
// the source folder). NOT_FOUND says where it was looked for.
absl::StatusOr<std::string> FindSharedData(std::string_view name);

// The folder with Fashion-MNIST's four IDX files, gzipped: what Debian's
// dataset-fashion-mnist installs. NOT_FOUND names the package.
absl::StatusOr<std::string> FindFashionMnist();

}  // namespace mledge

#endif  // MLEDGE_TESTS_SUPPORT_SHARED_DATA_H_
