#ifndef MLEDGE_TESTS_SUPPORT_TEMP_DIRECTORY_H_
#define MLEDGE_TESTS_SUPPORT_TEMP_DIRECTORY_H_

#include <string>
#include <string_view>

// A fresh folder under the system's temporary folder, removed with all that is
// in it when the object dies.

namespace mledge {

class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  const std::string& path() const { return path_; }
  // "<path>/<name>"; creates nothing.
  std::string File(std::string_view name) const;

 private:
  std::string path_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_SUPPORT_TEMP_DIRECTORY_H_
