#include "mledge/tests/cli/run_mledge.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cstdlib>

#include "mledge/core/file.h"
#include "mledge/tests/support/temp_directory.h"

extern char** environ;

namespace mledge {

CommandResult RunMledge(const std::vector<std::string>& arguments) {
  CommandResult result;
  const char* folder = std::getenv("MLEDGE_BIN_DIR");
  if (folder == nullptr) {
    ADD_FAILURE() << "MLEDGE_BIN_DIR is not set; run the test through ctest";
    return result;
  }
  std::vector<std::string> words = {std::string(folder) + "/mledge"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  const TempDirectory directory;
  const std::string out = directory.File("out");
  const std::string err = directory.File("err");
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), kFlags, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, err.c_str(), kFlags, 0600);
  pid_t process = 0;
  const int spawned =
      posix_spawn(&process, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (spawned != 0) {
    ADD_FAILURE() << "cannot run " << words[0] << ": error " << spawned;
    return result;
  }
  int status = 0;
  waitpid(process, &status, 0);
  if (WIFEXITED(status)) result.exit_status = WEXITSTATUS(status);
  result.out = ReadFile(out).value_or("");
  result.err = ReadFile(err).value_or("");
  return result;
}

}  // namespace mledge
