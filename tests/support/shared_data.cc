#include "mledge/tests/support/shared_data.h"

#include <cstdlib>
#include <filesystem>

#include "absl/status/status.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

std::string Environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string SharedDataDirectory() {
  if (std::string named = Environment("MLEDGE_SHARED_DATA"); !named.empty()) {
    return named;
  }
  const std::string source = Environment("MLEDGE_SOURCE_DIR");
  return StrCat(source.empty() ? "." : source, "/../shared/data");
}

}  // namespace

absl::StatusOr<std::string> FindSharedData(std::string_view name) {
  std::string path = StrCat(SharedDataDirectory(), "/", name);
  if (!std::filesystem::exists(path)) {
    return absl::NotFoundError(
        StrCat("no data at ", path,
               ": set MLEDGE_SHARED_DATA to a folder that contains ", name));
  }
  return path;
}

absl::StatusOr<std::string> FindFashionMnist() {
  const std::string path = "/usr/share/datasets/fashion-mnist";
  if (!std::filesystem::exists(path + "/train-images-idx3-ubyte.gz")) {
    return absl::NotFoundError(
        StrCat("no Fashion-MNIST at ", path,
               ": install the Debian package dataset-fashion-mnist"));
  }
  return path;
}

}  // namespace mledge
