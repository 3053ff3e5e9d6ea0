#ifndef MLEDGE_CORE_VERSION_H_
#define MLEDGE_CORE_VERSION_H_

#include <string_view>

// What was built, for `--version`, manifests and the greeting of a server.
// LibTorch's version is known to model/torch only.

namespace mledge {

struct BuildInfo {
  std::string_view version;     // of the product, "0.1.0"
  std::string_view build_type;  // CMake's, "Release"
  std::string_view compiler;    // "g++ 12.2.0"
};

BuildInfo GetBuildInfo();

}  // namespace mledge

#endif  // MLEDGE_CORE_VERSION_H_
