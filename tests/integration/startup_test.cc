// What mledge-coordinator says when it cannot start.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "mledge/coordinator/storage/sqlite_storage.h"
#include "mledge/core/strings.h"
#include "mledge/tests/integration/fleet.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class StartupTest : public ::testing::Test {
 protected:
  Finished Start(const std::vector<std::string>& settings = {},
                 const std::string& listen = "127.0.0.1:0") {
    std::vector<std::string> arguments = {
        fleet_.WriteCoordinatorConfig(listen)};
    for (const std::string& setting : settings) {
      arguments.push_back("--set");
      arguments.push_back(setting);
    }
    return RunProgram("mledge-coordinator", arguments,
                      fleet_.PathOf("logs/startup"));
  }

  Fleet fleet_;
};

TEST_F(StartupTest, PortInUse) {
  ASSERT_TRUE(fleet_.StartCoordinator());
  const Finished second =
      Start({"state_directory=" + fleet_.PathOf("other")}, fleet_.address());
  EXPECT_EQ(second.status, 1);
  EXPECT_THAT(second.output,
              AllOf(HasSubstr(fleet_.address()), HasSubstr("in use")));
}

TEST_F(StartupTest, DirectoryInUseNamesTheProcess) {
  ASSERT_TRUE(fleet_.StartCoordinator());
  const Finished second = Start();
  EXPECT_EQ(second.status, 1);
  EXPECT_THAT(second.output,
              AllOf(HasSubstr(StrCat("process ", fleet_.coordinator()->pid())),
                    HasSubstr("state_directory")));
}

TEST_F(StartupTest, UnwritableStateDirectory) {
  std::ofstream(fleet_.PathOf("file")) << "no folder";
  const Finished result = Start({"state_directory=" + fleet_.PathOf("file")});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.output, HasSubstr(fleet_.PathOf("file")));
}

TEST_F(StartupTest, CertificateOfAnotherRole) {
  const std::string device = fleet_.IdentityOf(Role::kDevice, "d");
  const Finished result =
      Start({"identity.certificate=" + device + "/certificate.pem",
             "identity.private_key=" + device + "/private_key.pem"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.output, HasSubstr("coordinator"));
}

TEST_F(StartupTest, KeyOfAnotherCertificate) {
  const std::string other = fleet_.IdentityOf(Role::kCoordinator, "other");
  const Finished result =
      Start({"identity.private_key=" + other + "/private_key.pem"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.output, HasSubstr("private_key.pem"));
}

TEST_F(StartupTest, UnknownFieldNamesTheNearestOne) {
  const Finished result = Start({"trusted_operator=[x]"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.output, HasSubstr("trusted_operators"));
}

TEST_F(StartupTest, MissingConfiguration) {
  const Finished result =
      RunProgram("mledge-coordinator", {fleet_.PathOf("none.yaml")},
                 fleet_.PathOf("logs/none"));
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.output, HasSubstr("none.yaml"));
}

TEST_F(StartupTest, DamagedDatabase) {
  std::filesystem::create_directories(fleet_.PathOf("coordinator"));
  std::ofstream(fleet_.PathOf("coordinator/coordinator.db"))
      << std::string(5000, 'x');
  const Finished result = Start();
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("coordinator.db"), HasSubstr("backup")));
}

TEST_F(StartupTest, TerminatesCleanlyOnSigterm) {
  ASSERT_TRUE(fleet_.StartCoordinator());
  fleet_.coordinator()->Signal(SIGTERM);
  EXPECT_EQ(fleet_.coordinator()->Wait(), 0) << fleet_.coordinator()->Log();
}

TEST_F(StartupTest, OperatorIsToldThatNobodyIsThere) {
  ASSERT_TRUE(fleet_.StartCoordinator());
  fleet_.coordinator()->Signal(SIGTERM);
  fleet_.coordinator()->Wait();
  const Finished result = fleet_.Mledge({"task", "list"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.output,
              AllOf(HasSubstr(fleet_.address()), HasSubstr("running")));
}

TEST_F(StartupTest, LinksNoLibTorch) {
  const std::string command =
      StrCat("ldd ", std::getenv("MLEDGE_BIN_DIR"), "/mledge-coordinator");
  FILE* pipe = popen(command.c_str(), "r");
  std::string output;
  char buffer[4096];
  while (const size_t size = fread(buffer, 1, sizeof(buffer), pipe)) {
    output.append(buffer, size);
  }
  ASSERT_EQ(pclose(pipe), 0);
  EXPECT_THAT(output, HasSubstr("libgrpc"));
  EXPECT_THAT(output, Not(HasSubstr("torch")));
  EXPECT_THAT(output, Not(HasSubstr("libc10")));
}

// The lock cannot see a coordinator on another machine; the owner epoch does.
// One that was taken over must not linger: whoever supervises it has to know.
TEST_F(StartupTest, CoordinatorThatWasTakenOverEndsWithAnError) {
  ASSERT_TRUE(fleet_.StartCoordinator());
  fleet_.Submit("task", 1, 10);
  std::filesystem::remove(fleet_.PathOf("coordinator/lock"));
  ASSERT_THAT(SqliteStorage::Open(fleet_.PathOf("coordinator")), IsOk());
  EXPECT_FALSE(fleet_.Admin()->CancelTask("task").ok());
  EXPECT_EQ(fleet_.coordinator()->Wait(), 1);
  EXPECT_THAT(fleet_.coordinator()->Log(), HasSubstr("has taken over"));
}

}  // namespace
}  // namespace mledge
