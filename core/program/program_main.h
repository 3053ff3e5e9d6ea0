#ifndef MLEDGE_CORE_PROGRAM_PROGRAM_MAIN_H_
#define MLEDGE_CORE_PROGRAM_PROGRAM_MAIN_H_

#include <signal.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

// main() of a program that has one configuration file and runs until SIGINT or
// SIGTERM.

namespace mledge {

struct ProgramMain {
  std::string name;  // "mledge-coordinator"
  std::string description;
  // The program. It waits for one of `stop_signals` (sigwait), which are
  // blocked in all threads that it starts, and returns when everything has
  // ended. An error is written to standard error.
  std::function<absl::Status(const std::string& config_path,
                             const std::vector<std::string>& overrides,
                             const sigset_t& stop_signals)>
      run;
};

// NAME CONFIG [--set FIELD=VALUE]…, --help, --version. The exit status: 0; 1
// after an error; 2 for a command line that is none.
int RunProgram(int argc, char** argv, const ProgramMain& program);

}  // namespace mledge

#endif  // MLEDGE_CORE_PROGRAM_PROGRAM_MAIN_H_
