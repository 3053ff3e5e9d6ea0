// mledge-registrar as a process: what it says survives kill -9, a second one on
// its state is kept out, and operators command it from a shell.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/time/clock.h"
#include "mledge/core/file.h"
#include "mledge/core/strings.h"
#include "mledge/identity/grpc/registrar_client.h"
#include "mledge/identity/pki_directory.h"
#include "mledge/identity/revocation_list.h"
#include "mledge/tests/integration/child_process.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::AllOf;
using ::testing::HasSubstr;

Digest DigestOf(const std::string& text) {
  return Sha256Of(std::string_view(text));
}

class RegistrarProcessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_THAT(InitializePki(pki_, {.now = absl::Now()}), IsOk());
    for (const auto& [role, id] : std::vector<std::pair<Role, std::string>>{
             {Role::kOperator, "operator"},
             {Role::kCoordinator, "coordinator"},
             {Role::kDevice, "one"}}) {
      ASSERT_THAT(
          IssueIdentity(pki_, {.identity = {role, id}, .now = absl::Now()}),
          IsOk());
    }
  }

  std::vector<std::string> Arguments(std::vector<std::string> settings) const {
    std::vector<std::string> arguments = {pki_ + "/registrar.yaml"};
    settings.insert(settings.begin(), StrCat("listen=", address_));
    for (const std::string& setting : settings) {
      arguments.push_back("--set");
      arguments.push_back(setting);
    }
    return arguments;
  }
  void Start(const std::vector<std::string>& settings = {}) {
    process_.reset();
    const std::string log = directory_.File(StrCat("log-", runs_++));
    process_ = std::make_unique<ChildProcess>("mledge-registrar",
                                              Arguments(settings), log);
    constexpr std::string_view kLine = "mledge-registrar: listening on ";
    ASSERT_TRUE(WaitUntil([&] {
      const std::string text = process_->Log();
      const size_t at = text.find(kLine);
      const size_t end = text.find('\n', at);
      if (at == std::string::npos || end == std::string::npos) {
        return !process_->IsRunning();
      }
      address_ = text.substr(at + kLine.size(), end - at - kLine.size());
      return true;
    }));
    ASSERT_TRUE(process_->IsRunning()) << process_->Log();
  }
  Finished Fails(const std::vector<std::string>& settings) {
    return RunProgram("mledge-registrar", Arguments(settings),
                      directory_.File(StrCat("log-", runs_++)));
  }
  Finished Mledge(std::vector<std::string> arguments) {
    return RunProgram("mledge", arguments,
                      directory_.File(StrCat("log-", runs_++)));
  }
  std::string FolderOf(const std::string& name) const {
    return StrCat(pki_, "/", name);
  }
  std::unique_ptr<RegistrarClient> ClientOf(const std::string& name) const {
    const std::string hex = ReadFile(pki_ + "/witness.pub").value();
    return RegistrarClient::Create(
               {.address = address_},
               LoadTlsIdentity(IdentityFilesIn(FolderOf(name)), {}, absl::Now())
                   .value(),
               WitnessPublicKey::FromHex(
                   ToStdView(absl::StripAsciiWhitespace(hex)))
                   .value())
        .value();
  }
  absl::StatusOr<WitnessStatement> Ask(uint64_t number,
                                       const std::string& directory) const {
    const auto client = ClientOf("coordinator-coordinator");
    std::promise<absl::StatusOr<WitnessStatement>> answer;
    client->WitnessDirectory(DigestOf("task"), number, DigestOf(directory),
                             [&](auto result) { answer.set_value(result); });
    return answer.get_future().get();
  }

  const TempDirectory directory_;
  const std::string pki_ = directory_.File("pki");
  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<ChildProcess> process_;
  int runs_ = 0;
};

TEST_F(RegistrarProcessTest, WhatItSaidSurvivesBeingKilled) {
  Start();
  std::vector<WitnessStatement> said;
  for (uint64_t round = 1; round <= 5; ++round) {
    const auto statement = Ask(round, StrCat(round));
    ASSERT_THAT(statement, IsOk());
    said.push_back(*statement);
    process_->Signal(SIGKILL);
    EXPECT_EQ(process_->Wait(), 128 + SIGKILL);
    Start();
    for (const WitnessStatement& each : said) {
      EXPECT_THAT(Ask(each.session_number, StrCat(each.session_number)),
                  IsOkAndHolds(each));
      EXPECT_THAT(Ask(each.session_number, "other"),
                  StatusIs(StatusCode::kFailedPrecondition));
    }
  }
  process_->Signal(SIGTERM);
  EXPECT_EQ(process_->Wait(), 0) << process_->Log();
}

TEST_F(RegistrarProcessTest, OtherRolesHaveNothingWitnessed) {
  Start();
  for (const char* name : {"operator-operator", "device-one"}) {
    const auto client = ClientOf(name);
    std::promise<absl::StatusOr<VersionLogHead>> answer;
    client->AppendVersion(DigestOf("task"), 0, DigestOf("v"),
                          [&](auto result) { answer.set_value(result); });
    EXPECT_THAT(answer.get_future().get(),
                StatusIs(StatusCode::kPermissionDenied));
  }
}

TEST_F(RegistrarProcessTest, SecondProcessOnItsStateIsKeptOut) {
  Start();
  const Finished second = Fails({"listen=127.0.0.1:0"});
  EXPECT_EQ(second.status, 1);
  EXPECT_THAT(second.output,
              AllOf(HasSubstr(StrCat("process ", process_->pid())),
                    HasSubstr("state_directory")));
}

TEST_F(RegistrarProcessTest, SaysWhyItDoesNotStart) {
  const auto says = [&](const std::string& setting, const std::string& part) {
    const Finished finished = Fails({setting});
    EXPECT_EQ(finished.status, 1) << setting;
    EXPECT_THAT(finished.output, HasSubstr(part)) << setting;
  };
  says("operators=[]", "operators");
  says("sesions_per_day=1", "sessions_per_day");
  says("keys.private_key=root.key", "root.key");
  says("keys.witness_key=registrar.key", "Ed25519");
  says("keys.certificate=root.crt", "root.crt");
  says("keys.root=registrar.crt", "registrar.crt");
  says("hosts=[\"a b\"]", "a b");
  says("listen=127.0.0.1:99999", "listen");
  Start();
  says(StrCat("state_directory=", directory_.File("other")), address_);
}

TEST_F(RegistrarProcessTest, OperatorRevokesEnrollsAndLooksFromAShell) {
  Start({"enroll_listen=127.0.0.1:0"});
  const std::vector<std::string> as_operator = {
      "--registrar", address_, "--identity", FolderOf("operator-operator")};
  const auto command = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "pki");
    arguments.insert(arguments.end(), as_operator.begin(), as_operator.end());
    return Mledge(arguments);
  };
  // A token, and a device that enrolls with it.
  const Finished token = command({"token", "--id", "new"});
  ASSERT_EQ(token.status, 0) << token.output;
  const auto field = [](const std::string& text, const std::string& name) {
    const size_t at = text.find(name) + name.size();
    const size_t from = text.find_first_not_of(' ', at);
    return text.substr(from, text.find('\n', from) - from);
  };
  const std::string log = process_->Log();
  const std::string device = directory_.File("new");
  const Finished enrolled =
      Mledge({"pki", "enroll", device, "--registrar",
              field(log, "with a token enroll at"), "--id", "new", "--token",
              field(token.output, "token"), "--root-fingerprint",
              field(token.output, "root fingerprint")});
  ASSERT_EQ(enrolled.status, 0) << enrolled.output;
  const Finished renewed =
      Mledge({"pki", "renew", device, "--registrar", address_});
  EXPECT_EQ(renewed.status, 0) << renewed.output;

  // By identity: what was issued beside the registrar goes with it.
  const Finished revoked =
      command({"revoke", "--id", "one", "--reason", "stolen"});
  EXPECT_EQ(revoked.status, 0) << revoked.output;
  const Finished shown =
      command({"revocations", "--out", directory_.File("list")});
  EXPECT_EQ(shown.status, 0) << shown.output;
  EXPECT_THAT(shown.output, AllOf(HasSubstr("signature good"),
                                  HasSubstr("mledge://device/one")));
  const Finished saved =
      Mledge({"pki", "show", directory_.File("list"), pki_ + "/witness.pub"});
  EXPECT_EQ(saved.status, 0) << saved.output;
  EXPECT_THAT(saved.output, AllOf(HasSubstr("mledge://device/one"),
                                  HasSubstr("witness key")));
  EXPECT_THAT(ClientOf("device-one")->GetRevocationList(),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("revoked")));
  const Finished again =
      Mledge({"pki", "renew", FolderOf("device-one"), "--registrar", address_});
  EXPECT_EQ(again.status, 1);
  EXPECT_THAT(again.output, HasSubstr("revoked"));

  const Finished issued = command({"issued"});
  EXPECT_EQ(issued.status, 0) << issued.output;
  EXPECT_THAT(issued.output, AllOf(HasSubstr("mledge://device/new"),
                                   HasSubstr("by token of operator operator"),
                                   HasSubstr("by device new")));
  // A device commands nothing.
  const Finished denied = Mledge({"pki", "revoke", "--id", "x", "--registrar",
                                  address_, "--identity", device});
  EXPECT_EQ(denied.status, 1);
  EXPECT_THAT(denied.output, HasSubstr("role operator"));
}

}  // namespace
}  // namespace mledge
