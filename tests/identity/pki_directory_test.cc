#include "mledge/identity/pki_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <set>
#include <string>

#include "mledge/core/file.h"
#include "mledge/identity/certificate_signing_request.h"
#include "mledge/identity/private_key.h"
#include "mledge/identity/tls_identity.h"
#include "mledge/identity/witness_key.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

const absl::Time kNow = absl::FromUnixSeconds(1767225600);

std::set<std::string> NamesIn(const std::string& directory) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.insert(entry.path().filename());
  }
  return names;
}

class PkiDirectoryTest : public ::testing::Test {
 protected:
  PkiDirectoryTest() : pki_(directory_.File("pki")) {}
  void SetUp() override {
    ASSERT_THAT(InitializePki(pki_, {.now = kNow}), IsOk());
  }

  const TempDirectory directory_;
  const std::string pki_;
};

TEST_F(PkiDirectoryTest, HoldsRootAndRegistrar) {
  EXPECT_THAT(NamesIn(pki_),
              UnorderedElementsAre("root.crt", "root.key", "registrar.crt",
                                   "registrar.key", "witness.key",
                                   "witness.pub", "registrar.yaml"));
  for (const char* name : {"/root.key", "/registrar.key", "/witness.key"}) {
    struct stat file_status {};
    ASSERT_EQ(stat((pki_ + name).c_str(), &file_status), 0);
    EXPECT_EQ(file_status.st_mode & 07777, 0600u) << name;
  }
}

TEST_F(PkiDirectoryTest, IsNotOverwritten) {
  EXPECT_THAT(
      InitializePki(pki_, {.now = kNow}),
      StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("not overwritten")));
}

TEST_F(PkiDirectoryTest, CoordinatorGetsNoKeyThatCanIssue) {
  const absl::StatusOr<IssuedIdentity> issued = IssueIdentity(
      pki_, {.identity = {Role::kCoordinator, "main"}, .now = kNow});
  ASSERT_THAT(issued, IsOk());
  EXPECT_EQ(issued->directory, pki_ + "/coordinator-main");
  EXPECT_THAT(
      NamesIn(issued->directory),
      UnorderedElementsAre("certificate.pem", "private_key.pem", "root.pem"));
  const PrivateKey own =
      LoadPrivateKey(issued->directory + "/private_key.pem").value();
  EXPECT_TRUE(own.public_key() == issued->certificate.public_key());
  EXPECT_FALSE(issued->certificate.can_issue());
  for (const char* name : {"/root.key", "/registrar.key"}) {
    EXPECT_FALSE(LoadPrivateKey(pki_ + name)->public_key() == own.public_key());
  }
}

TEST_F(PkiDirectoryTest, IssuesWithoutTheRootsKey) {
  ASSERT_TRUE(std::filesystem::remove(pki_ + "/root.key"));
  EXPECT_THAT(
      IssueIdentity(pki_, {.identity = {Role::kDevice, "one"}, .now = kNow}),
      IsOk());
}

TEST_F(PkiDirectoryTest, IssuedFolderIsNotOverwritten) {
  const PkiIssueOptions options{.identity = {Role::kDevice, "one"},
                                .now = kNow};
  ASSERT_THAT(IssueIdentity(pki_, options), IsOk());
  const std::string before =
      ReadFile(pki_ + "/device-one/certificate.pem").value();
  EXPECT_THAT(IssueIdentity(pki_, options),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_EQ(ReadFile(pki_ + "/device-one/certificate.pem").value(), before);
}

TEST_F(PkiDirectoryTest, RequestKeepsTheKeyWhereItIs) {
  const PrivateKey key = PrivateKey::Generate();
  const Identity identity{Role::kDevice, "one"};
  const absl::StatusOr<IssuedIdentity> issued = IssueIdentity(
      pki_, {.identity = identity,
             .now = kNow,
             .output_directory = directory_.File("out"),
             .csr_pem = CreateCertificateSigningRequest(key, identity)});
  ASSERT_THAT(issued, IsOk());
  EXPECT_THAT(NamesIn(directory_.File("out")),
              UnorderedElementsAre("certificate.pem", "root.pem"));
  EXPECT_TRUE(issued->certificate.public_key() == key.public_key());
}

TEST_F(PkiDirectoryTest, RequestMadeOnTheDeviceBecomesItsIdentity) {
  const std::string device = directory_.File("device");
  const Identity identity{Role::kDevice, "one"};
  ASSERT_THAT(RequestIdentity(device, identity), IsOk());
  EXPECT_THAT(NamesIn(device),
              UnorderedElementsAre("private_key.pem", "request.csr"));
  PkiIssueOptions options;
  options.identity = identity;
  options.now = kNow;
  options.output_directory = device;
  options.csr_pem = ReadFile(device + "/request.csr").value();
  ASSERT_THAT(IssueIdentity(pki_, options), IsOk());
  EXPECT_THAT(LoadTlsIdentity(IdentityFilesIn(device), {}, kNow), IsOk());
  EXPECT_THAT(RequestIdentity(device, identity),
              StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_F(PkiDirectoryTest, RequestForAnotherIdentityIsRefused) {
  PkiIssueOptions options;
  options.identity = {Role::kDevice, "one"};
  options.now = kNow;
  options.csr_pem = CreateCertificateSigningRequest(PrivateKey::Generate(),
                                                    {Role::kOperator, "one"});
  EXPECT_THAT(IssueIdentity(pki_, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("from operator one")));
  EXPECT_FALSE(std::filesystem::exists(pki_ + "/device-one"));
}

TEST_F(PkiDirectoryTest, FolderWithoutPkiIsNamedWithTheRemedy) {
  EXPECT_THAT(
      IssueIdentity(directory_.File("nowhere"),
                    {.identity = {Role::kDevice, "one"}, .now = kNow}),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("mledge pki init")));
}

TEST_F(PkiDirectoryTest, BadNameIsRefused) {
  EXPECT_THAT(
      InitializePki(directory_.File("other"), {.name = "a b", .now = kNow}),
      StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(PkiDirectoryTest, WitnessKeyAndItsPublicHalfBelongTogether) {
  const absl::StatusOr<WitnessKey> key =
      WitnessKey::Load(pki_ + "/witness.key");
  ASSERT_THAT(key, IsOk());
  EXPECT_EQ(ReadFile(pki_ + "/witness.pub").value(),
            key->public_key().ToHex() + "\n");
}

TEST_F(PkiDirectoryTest, ConfigurationNamesWhomTheRegistrarObeys) {
  const std::string other = directory_.File("other");
  ASSERT_THAT(InitializePki(other, {.now = kNow,
                                    .operators = {"alice", "bob"},
                                    .coordinators = {"main"}}),
              IsOk());
  const std::string config = ReadFile(other + "/registrar.yaml").value();
  EXPECT_THAT(config, HasSubstr("operators: [alice, bob]"));
  EXPECT_THAT(config, HasSubstr("coordinators: [main]"));
  EXPECT_THAT(InitializePki(directory_.File("third"),
                            {.now = kNow, .operators = {"a: b"}}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

class StoreIdentityTest : public PkiDirectoryTest {
 protected:
  void SetUp() override {
    PkiDirectoryTest::SetUp();
    ASSERT_THAT(RequestIdentity(device_, one_), IsOk());
  }
  // As if it came over the network for the request of the device.
  std::string Chain(const std::string& pki) {
    PkiIssueOptions options{.identity = one_, .now = kNow};
    options.output_directory = directory_.File("made");
    options.csr_pem = ReadFile(device_ + "/request.csr").value();
    std::filesystem::remove_all(options.output_directory);
    EXPECT_THAT(IssueIdentity(pki, options), IsOk());
    return ReadFile(options.output_directory + "/certificate.pem").value();
  }
  std::string RootOf(const std::string& pki) {
    return ReadFile(pki + "/root.crt").value();
  }

  const Identity one_{Role::kDevice, "one"};
  const std::string device_ = directory_.File("device");
};

TEST_F(StoreIdentityTest, FirstAndRenewedCertificateAreKept) {
  for (int i = 0; i < 2; ++i) {
    const std::string chain = Chain(pki_);
    ASSERT_THAT(StoreIdentity(device_, chain, RootOf(pki_), kNow), IsOk());
    EXPECT_EQ(ReadFile(device_ + "/certificate.pem").value(), chain);
    EXPECT_THAT(LoadTlsIdentity(IdentityFilesIn(device_), {}, kNow), IsOk());
  }
}

TEST_F(StoreIdentityTest, WhatDoesNotBelongToTheKeyIsRefused) {
  const auto issued =
      IssueIdentity(pki_, {.identity = {Role::kDevice, "two"}, .now = kNow});
  ASSERT_THAT(issued, IsOk());
  EXPECT_THAT(
      StoreIdentity(device_,
                    ReadFile(issued->directory + "/certificate.pem").value(),
                    RootOf(pki_), kNow),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("private key")));
  EXPECT_THAT(StoreIdentity(device_, "nothing", RootOf(pki_), kNow),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_FALSE(std::filesystem::exists(device_ + "/certificate.pem"));
}

TEST_F(StoreIdentityTest, RootIsNeverReplaced) {
  ASSERT_THAT(StoreIdentity(device_, Chain(pki_), RootOf(pki_), kNow), IsOk());
  const std::string other = directory_.File("other");
  ASSERT_THAT(InitializePki(other, {.now = kNow}), IsOk());
  const std::string before = ReadFile(device_ + "/certificate.pem").value();
  EXPECT_THAT(
      StoreIdentity(device_, Chain(other), RootOf(other), kNow),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("another root")));
  EXPECT_EQ(ReadFile(device_ + "/certificate.pem").value(), before);
  // Nor does a root help that the certificate does not lead to.
  EXPECT_THAT(StoreIdentity(device_, Chain(other), RootOf(pki_), kNow),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

}  // namespace
}  // namespace mledge
