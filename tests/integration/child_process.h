#ifndef MLEDGE_TESTS_INTEGRATION_CHILD_PROCESS_H_
#define MLEDGE_TESTS_INTEGRATION_CHILD_PROCESS_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"

// A program of ours, run as its users run it. Killed when the object or the
// test dies.

namespace mledge {

// Looks every few milliseconds whether `condition` holds; false after
// `deadline`.
bool WaitUntil(const std::function<bool()>& condition,
               absl::Duration deadline = absl::Seconds(120));

class ChildProcess {
 public:
  // `program`: a name in MLEDGE_BIN_DIR. Standard output and error go to
  // `log_path`, from its start. `environment`: "NAME=value", beside the test's
  // own.
  ChildProcess(const std::string& program,
               const std::vector<std::string>& arguments, std::string log_path,
               const std::vector<std::string>& environment = {});
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int signal) const;
  bool IsRunning();
  // The exit status; 128 + signal when a signal ended it; -1 when it still
  // runs after `deadline`.
  int Wait(absl::Duration deadline = absl::Seconds(120));
  std::string Log() const;

 private:
  pid_t pid_ = 0;
  std::string log_path_;
  bool is_over_ = false;
  int status_ = 0;
};

// Runs a program to its end.
struct Finished {
  int status = 0;
  std::string output;
};
Finished RunProgram(const std::string& program,
                    const std::vector<std::string>& arguments,
                    const std::string& log_path);

}  // namespace mledge

#endif  // MLEDGE_TESTS_INTEGRATION_CHILD_PROCESS_H_
