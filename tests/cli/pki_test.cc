#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/time/clock.h"
#include "mledge/identity/pki_directory.h"
#include "mledge/tests/cli/run_mledge.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

namespace fs = std::filesystem;

class PkiCommandTest : public ::testing::Test {
 protected:
  PkiCommandTest() : pki_(directory_.File("pki")) {}

  // In this process: starting the program costs half a second, for LibTorch.
  void Init() {
    PkiOptions options;
    options.now = absl::Now();
    ASSERT_TRUE(InitializePki(pki_, options).ok());
  }
  CommandResult Issue(std::vector<std::string> more) {
    std::vector<std::string> arguments = {"pki", "issue", pki_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunMledge(arguments);
  }

  const TempDirectory directory_;
  const std::string pki_;
};

TEST_F(PkiCommandTest, MakesIssuesAndShows) {
  const CommandResult made = RunMledge({"pki", "init", pki_});
  ASSERT_EQ(made.exit_status, 0) << made.err;
  EXPECT_EQ(fs::status(pki_ + "/root.key").permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
  const CommandResult issued =
      Issue({"--role", "coordinator", "--id", "main", "--host",
             "fl.example.org", "--host", "10.0.0.7", "--days", "30"});
  EXPECT_EQ(issued.exit_status, 0);
  EXPECT_THAT(issued.err, IsEmpty());
  EXPECT_THAT(issued.out, AllOf(HasSubstr("coordinator main"),
                                HasSubstr("fl.example.org, 10.0.0.7"),
                                HasSubstr(pki_ + "/coordinator-main")));
  const CommandResult shown =
      RunMledge({"pki", "show", pki_ + "/coordinator-main/certificate.pem"});
  EXPECT_EQ(shown.exit_status, 0);
  EXPECT_THAT(shown.out, AllOf(HasSubstr("coordinator main"),
                               HasSubstr("registrar mledge"),
                               HasSubstr("host         10.0.0.7"),
                               HasSubstr("fingerprint  SHA-256 ")));
}

TEST_F(PkiCommandTest, IssuesASeries) {
  Init();
  const CommandResult issued =
      Issue({"--role", "device", "--count", "3", "--id-prefix", "d-", "--out",
             directory_.File("fleet")});
  EXPECT_EQ(issued.exit_status, 0) << issued.err;
  for (const char* id : {"d-0", "d-1", "d-2"}) {
    EXPECT_TRUE(
        fs::exists(directory_.File("fleet/device-") + id + "/private_key.pem"))
        << id;
  }
  EXPECT_FALSE(fs::exists(directory_.File("fleet/device-d-3")));
}

TEST_F(PkiCommandTest, IssuesFromARequestWithoutSeeingTheKey) {
  Init();
  const std::string device = directory_.File("device");
  const CommandResult requested =
      RunMledge({"pki", "request", device, "--role", "device", "--id", "one"});
  ASSERT_EQ(requested.exit_status, 0) << requested.err;
  const CommandResult issued =
      Issue({"--role", "device", "--id", "one", "--csr",
             device + "/request.csr", "--out", directory_.File("answer")});
  EXPECT_EQ(issued.exit_status, 0) << issued.err;
  EXPECT_TRUE(fs::exists(directory_.File("answer/certificate.pem")));
  EXPECT_FALSE(fs::exists(directory_.File("answer/private_key.pem")));
}

TEST_F(PkiCommandTest, RefusesToOverwrite) {
  Init();
  const CommandResult again = RunMledge({"pki", "init", pki_});
  EXPECT_EQ(again.exit_status, 1);
  EXPECT_THAT(again.err, AllOf(StartsWith("mledge: error: "),
                               HasSubstr("is not overwritten")));
  ASSERT_EQ(Issue({"--role", "device", "--id", "one"}).exit_status, 0);
  EXPECT_EQ(Issue({"--role", "device", "--id", "one"}).exit_status, 1);
}

TEST_F(PkiCommandTest, ErrorsNameTheRemedy) {
  const CommandResult missing = Issue({"--role", "device", "--id", "one"});
  EXPECT_EQ(missing.exit_status, 1);
  EXPECT_THAT(missing.err, HasSubstr("mledge pki init"));
  Init();
  const CommandResult role = Issue({"--role", "devise", "--id", "one"});
  EXPECT_EQ(role.exit_status, 1);
  EXPECT_THAT(role.err, HasSubstr("unknown role \"devise\""));
  const CommandResult nobody = Issue({"--role", "device"});
  EXPECT_EQ(nobody.exit_status, 1);
  EXPECT_THAT(nobody.err, HasSubstr("--id"));
  fs::permissions(pki_ + "/registrar.key", fs::perms::group_read,
                  fs::perm_options::add);
  const CommandResult open = Issue({"--role", "device", "--id", "one"});
  EXPECT_EQ(open.exit_status, 1);
  EXPECT_THAT(open.err, HasSubstr("chmod 600"));
}

TEST_F(PkiCommandTest, UnwritableFolderIsNamed) {
  const CommandResult result = RunMledge({"pki", "init", "/dev/null/pki"});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, HasSubstr("/dev/null"));
}

TEST_F(PkiCommandTest, UsageErrorsEndWithTwo) {
  EXPECT_EQ(RunMledge({}).exit_status, 2);
  EXPECT_EQ(RunMledge({"pki"}).exit_status, 2);
  EXPECT_EQ(RunMledge({"pki", "init", pki_, "--dayz", "3"}).exit_status, 2);
  EXPECT_EQ(Issue({"--role", "device", "--id", "x", "--days", "0"}).exit_status,
            2);
  EXPECT_EQ(RunMledge({"nonsense"}).exit_status, 2);
}

TEST_F(PkiCommandTest, HelpEndsWithZero) {
  const CommandResult help = RunMledge({"--help"});
  EXPECT_EQ(help.exit_status, 0);
  EXPECT_THAT(help.out, AllOf(HasSubstr("pki"), HasSubstr("model")));
}

TEST_F(PkiCommandTest, ShowsNoPrivateKeys) {
  Init();
  const CommandResult result = RunMledge({"pki", "show", pki_ + "/root.key"});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.out, ::testing::Not(HasSubstr("PRIVATE KEY")));
}

}  // namespace
}  // namespace mledge
