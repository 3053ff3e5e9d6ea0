#ifndef MLEDGE_TESTS_CLI_RUN_MLEDGE_H_
#define MLEDGE_TESTS_CLI_RUN_MLEDGE_H_

#include <string>
#include <vector>

// Runs the workbench's binary as a person would: the `mledge` in the folder
// that the environment variable MLEDGE_BIN_DIR names (ctest sets it).

namespace mledge {

struct CommandResult {
  int exit_status = -1;  // -1: ended by a signal
  std::string out;
  std::string err;
};

// Blocks until the command has ended; its standard input is empty.
CommandResult RunMledge(const std::vector<std::string>& arguments);

}  // namespace mledge

#endif  // MLEDGE_TESTS_CLI_RUN_MLEDGE_H_
