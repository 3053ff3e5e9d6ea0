#include "mledge/core/version.h"

namespace mledge {

BuildInfo GetBuildInfo() {
  return {
    .version = MLEDGE_VERSION, .build_type = MLEDGE_BUILD_TYPE,
#if defined(__clang__)
    .compiler = "clang " __clang_version__
#else
    .compiler = "g++ " __VERSION__
#endif
  };
}

}  // namespace mledge
