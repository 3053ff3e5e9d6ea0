#include "mledge/tests/integration/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "absl/time/clock.h"
#include "mledge/core/file.h"

namespace mledge {

bool WaitUntil(const std::function<bool()>& condition,
               absl::Duration deadline) {
  const absl::Time end = absl::Now() + deadline;
  while (!condition()) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

ChildProcess::ChildProcess(const std::string& program,
                           const std::vector<std::string>& arguments,
                           std::string log_path,
                           const std::vector<std::string>& environment)
    : log_path_(std::move(log_path)) {
  const char* const directory = std::getenv("MLEDGE_BIN_DIR");
  const std::string path =
      std::string(directory == nullptr ? "bin" : directory) + "/" + program;
  std::vector<char*> argv = {const_cast<char*>(path.c_str())};
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  std::vector<char*> envp;
  for (const std::string& variable : environment) {
    envp.push_back(const_cast<char*>(variable.c_str()));
  }
  for (char** variable = environ; *variable != nullptr; ++variable) {
    envp.push_back(*variable);
  }
  envp.push_back(nullptr);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(125);
    const int log = open(log_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    close(log);
    execve(path.c_str(), argv.data(), envp.data());
    _exit(127);
  }
}

ChildProcess::~ChildProcess() {
  if (!IsRunning()) return;
  Signal(SIGKILL);
  Wait();
}

void ChildProcess::Signal(int signal) const {
  if (!is_over_) kill(pid_, signal);
}

bool ChildProcess::IsRunning() {
  if (!is_over_) is_over_ = waitpid(pid_, &status_, WNOHANG) == pid_;
  return !is_over_;
}

int ChildProcess::Wait(absl::Duration deadline) {
  if (!WaitUntil([this] { return !IsRunning(); }, deadline)) return -1;
  return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
}

std::string ChildProcess::Log() const {
  return ReadFile(log_path_).value_or("");
}

Finished RunProgram(const std::string& program,
                    const std::vector<std::string>& arguments,
                    const std::string& log_path) {
  ChildProcess process(program, arguments, log_path);
  const int status = process.Wait(absl::Minutes(5));
  return {status, process.Log()};
}

}  // namespace mledge
