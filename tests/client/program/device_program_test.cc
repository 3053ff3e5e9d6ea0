#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/time/clock.h"
#include "mledge/core/strings.h"
#include "mledge/identity/pki_directory.h"
#include "mledge/tests/client/grpc/fake_device_service.h"
#include "mledge/tests/integration/child_process.h"
#include "mledge/tests/support/temp_directory.h"

// mledge-device as a program: what it says when it cannot start, and how it
// ends.

namespace mledge {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::HasSubstr;

class DeviceProgramTest : public ::testing::Test {
 protected:
  DeviceProgramTest() {
    EXPECT_TRUE(InitializePki(Path("pki"), {.now = absl::Now()}).ok());
    Issue(Role::kDevice, "device-1");
    std::ofstream(Path("data.csv")) << "x,y,label\n1,2,0\n3,4,1\n";
  }

  std::string Path(const std::string& name) const {
    return directory_.File(name);
  }
  TlsIdentity Issue(Role role, const std::string& id) {
    PkiIssueOptions options;
    options.identity = {role, id};
    options.now = absl::Now();
    const auto issued = IssueIdentity(Path("pki"), options);
    EXPECT_TRUE(issued.ok()) << issued.status();
    const auto identity =
        LoadTlsIdentity(IdentityFilesIn(issued->directory), {}, absl::Now());
    EXPECT_TRUE(identity.ok()) << identity.status();
    TlsIdentity copy;
    copy.certificate_chain_pem = identity->certificate_chain_pem;
    copy.private_key_pem = identity->private_key_pem.Clone(RevealSecret());
    copy.root_pem = identity->root_pem;
    copy.identity = identity->identity;
    return copy;
  }
  std::string Config(const std::string& coordinator = "localhost:1",
                     const std::string& who = "device-device-1") {
    const std::string folder = Path("pki/" + who);
    std::ofstream(Path("device.yaml"))
        << "coordinator: " << coordinator << "\n"
        << "state_directory: state\n"
        << "identity:\n"
        << "  certificate: " << folder << "/certificate.pem\n"
        << "  private_key: " << folder << "/private_key.pem\n"
        << "  root: " << folder << "/root.pem\n"
        << "trusted_operators: [alice]\n"
        << "trusted_model_signers: [models]\n"
        << "data: {csv: {file: data.csv, features: [x, y], labels: [label]}}\n";
    return Path("device.yaml");
  }
  Finished Start(std::vector<std::string> settings = {},
                 const std::string& who = "device-device-1") {
    std::vector<std::string> arguments = {Config("localhost:1", who)};
    for (const std::string& setting : settings) {
      arguments.insert(arguments.end(), {"--set", setting});
    }
    return RunProgram("mledge-device", arguments, Path("log"));
  }
  // Fails to start with this among what it says.
  void ExpectRefusal(const Finished& result,
                     ::testing::Matcher<std::string> said) {
    EXPECT_EQ(result.status, 1) << result.output;
    EXPECT_THAT(result.output, said);
  }

  TempDirectory directory_;
};

TEST_F(DeviceProgramTest, MissingConfigurationIsNamed) {
  ExpectRefusal(RunProgram("mledge-device", {Path("absent.yaml")}, Path("log")),
                HasSubstr("absent.yaml"));
}

TEST_F(DeviceProgramTest, NoArgumentShowsTheUsage) {
  const Finished result = RunProgram("mledge-device", {}, Path("log"));
  EXPECT_EQ(result.status, 2);
}

TEST_F(DeviceProgramTest, UnknownFieldNamesTheNearestOne) {
  ExpectRefusal(Start({"populations=x"}), HasSubstr("population"));
}

TEST_F(DeviceProgramTest, MissingDataFileIsNamed) {
  ExpectRefusal(Start({"data.csv.file=absent.csv"}),
                AllOf(HasSubstr("data"), HasSubstr("absent.csv")));
}

TEST_F(DeviceProgramTest, StateDirectoryThatIsAFileIsNamed) {
  ExpectRefusal(Start({"state_directory=data.csv"}), HasSubstr("data.csv"));
}

TEST_F(DeviceProgramTest, StateKeyThatCannotBeMadeIsNamed) {
  ExpectRefusal(Start({"state_key=no/such/folder/state.key"}),
                HasSubstr("no/such/folder/state.key"));
}

TEST_F(DeviceProgramTest, CertificateOfAnotherRoleIsRefused) {
  Issue(Role::kOperator, "alice");
  ExpectRefusal(Start({}, "operator-alice"), HasSubstr("operator"));
}

TEST_F(DeviceProgramTest, ExpiredCertificateIsNamed) {
  ASSERT_TRUE(
      InitializePki(Path("old"), {.now = absl::Now() - absl::Hours(48)}).ok());
  PkiIssueOptions options;
  options.identity = {Role::kDevice, "device-1"};
  options.now = absl::Now() - absl::Hours(24);
  options.validity = absl::Hours(1);
  options.output_directory = Path("pki/device-old");
  const auto issued = IssueIdentity(Path("old"), options);
  ASSERT_TRUE(issued.ok()) << issued.status();
  ExpectRefusal(Start({}, "device-old"), HasSubstr("expired"));
}

TEST_F(DeviceProgramTest, KeyOfAnotherCertificateIsNamed) {
  Issue(Role::kDevice, "device-2");
  ExpectRefusal(Start({"identity.private_key=" +
                       Path("pki/device-device-2/private_key.pem")}),
                HasSubstr("private_key.pem"));
}

TEST_F(DeviceProgramTest, DamagedJournalSaysWhatToDo) {
  fs::create_directories(Path("state"));
  std::ofstream(Path("state/device.sqlite")) << std::string(5000, 'x');
  ExpectRefusal(Start(), HasSubstr("move the state directory away"));
}

TEST_F(DeviceProgramTest, TwoAgentsDoNotShareAStateDirectory) {
  ChildProcess first("mledge-device", {Config()}, Path("first"));
  ASSERT_TRUE(WaitUntil([&] {
    return first.Log().find("Check-in failed") != std::string::npos;
  })) << first.Log();
  ExpectRefusal(Start(), AllOf(HasSubstr("in use"),
                               HasSubstr(std::to_string(first.pid()))));
}

TEST_F(DeviceProgramTest, KeepsTryingWhileNobodyIsThereAndEndsCleanly) {
  for (const int signal : {SIGTERM, SIGINT}) {
    ChildProcess device("mledge-device", {Config()},
                        Path(StrCat("log-", signal)));
    ASSERT_TRUE(WaitUntil([&] {
      return device.Log().find("Check-in failed") != std::string::npos;
    })) << device.Log();
    EXPECT_THAT(device.Log(), HasSubstr("Is the coordinator running"));
    device.Signal(signal);
    EXPECT_EQ(device.Wait(absl::Seconds(30)), 0) << device.Log();
    EXPECT_THAT(device.Log(), HasSubstr("Stopped"));
  }
}

TEST_F(DeviceProgramTest, RefusesForeignTaskAndReportsIt) {
  SessionWorld world(std::make_shared<const SessionSigners>(absl::Now()));
  const v1::Assignment assignment = world.MakeAssignment();
  FakeCoordinator coordinator(world.blobs, {assignment});
  FakeDeviceService service(&coordinator);
  TestServer server(&service, Issue(Role::kCoordinator, "main"));
  ChildProcess device("mledge-device", {Config(server.target())}, Path("log"));
  ASSERT_TRUE(WaitUntil([&] { return !coordinator.reports().empty(); }))
      << device.Log();
  EXPECT_THAT(coordinator.reports()[0],
              HasSubstr("refused the assignment: task"));
  device.Signal(SIGTERM);
  EXPECT_EQ(device.Wait(absl::Seconds(30)), 0);
}

}  // namespace
}  // namespace mledge
