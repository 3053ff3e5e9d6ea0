// Secret-dependent code takes no branch and no address from a secret (the time
// of a rejection sampler tells how large the noise is): a program of its own,
// the subject, under valgrind with its secrets marked undefined (the way of
// Adam Langley's ctgrind, undefined_random.h). Compiled once for each subject,
// by mledge_constant_time_test. What OpenSSL does inside is covered as far as
// it runs there. Not covered: the time of single instructions.

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

#include "mledge/tests/support/undefined_random.h"

namespace mledge {
namespace {

constexpr int kFoundErrors = 9;

struct Outcome {
  int exit_status = -1;
  std::string output;
};

Outcome RunShell(const std::string& command) {
  Outcome outcome;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return outcome;
  std::array<char, 4096> buffer;
  while (const size_t count = fread(buffer.data(), 1, buffer.size(), pipe)) {
    outcome.output.append(buffer.data(), count);
  }
  const int status = pclose(pipe);
  if (WIFEXITED(status)) outcome.exit_status = WEXITSTATUS(status);
  return outcome;
}

Outcome RunUnderValgrind(const std::string& arguments) {
  return RunShell(
      "valgrind --quiet --error-exitcode=" + std::to_string(kFoundErrors) +
      " " MLEDGE_CONSTANT_TIME_OPTIONS " " MLEDGE_CONSTANT_TIME_SUBJECT " " +
      arguments);
}

class ConstantTimeTest : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "valgrind does not run programs built with a sanitizer";
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    GTEST_SKIP() << "valgrind does not run programs built with a sanitizer";
#endif
#endif
    if (RunShell("valgrind --version").exit_status != 0) {
      GTEST_SKIP() << "no valgrind; scripts/install-deps --tools installs it";
    }
    if (RunUnderValgrind("--leak").exit_status == kNoValgrind) {
      GTEST_SKIP() << "built without valgrind/memcheck.h; install valgrind and "
                      "build again";
    }
  }
};

TEST_F(ConstantTimeTest, BranchOnASecretIsFound) {
  EXPECT_EQ(RunUnderValgrind("--leak").exit_status, kFoundErrors);
}

TEST_F(ConstantTimeTest, NoBranchOrAddressDependsOnASecret) {
  const Outcome outcome = RunUnderValgrind("");
  EXPECT_EQ(outcome.exit_status, 0) << outcome.output;
}

}  // namespace
}  // namespace mledge
