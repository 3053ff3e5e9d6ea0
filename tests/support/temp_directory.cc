#include "mledge/tests/support/temp_directory.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "mledge/core/logging.h"
#include "mledge/core/strings.h"

namespace mledge {

TempDirectory::TempDirectory() {
  path_ = (std::filesystem::temp_directory_path() / "mledge-test-XXXXXX");
  CHECK(mkdtemp(path_.data()) != nullptr)
      << "cannot create " << path_ << ": " << std::strerror(errno);
}

TempDirectory::~TempDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TempDirectory::File(std::string_view name) const {
  return StrCat(path_, "/", name);
}

}  // namespace mledge
