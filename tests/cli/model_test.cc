#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "mledge/core/file.h"
#include "mledge/identity/pki_directory.h"
#include "mledge/model/package_file.h"
#include "mledge/tests/cli/run_mledge.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ModelCommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    pki_ = directory_.File("pki");
    // In this process: starting the program costs half a second, for LibTorch.
    PkiOptions init;
    init.now = absl::Now();
    ASSERT_TRUE(InitializePki(pki_, init).ok());
    for (const Role role : {Role::kModelSigner, Role::kOperator}) {
      PkiIssueOptions issue;
      issue.identity = {role, "mona"};
      issue.now = init.now;
      ASSERT_TRUE(IssueIdentity(pki_, issue).ok());
    }
    file_ = directory_.File("model.mledge");
  }
  CommandResult Create(std::vector<std::string> more,
                       const std::string& signer = "model-signer-mona") {
    std::vector<std::string> arguments = {
        "model", "create", "--signer", pki_ + "/" + signer, "--out", file_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunMledge(arguments);
  }

  const TempDirectory directory_;
  std::string pki_;
  std::string file_;
};

TEST_F(ModelCommandTest, CreatesAndInspects) {
  const CommandResult created =
      Create({"--architecture", "mlp", "--inputs", "4", "--outputs", "3",
              "--hidden", "8,5", "--seed", "7"});
  ASSERT_EQ(created.exit_status, 0) << created.err;
  EXPECT_THAT(created.out, AllOf(HasSubstr("103 parameters"),
                                 HasSubstr("signed by model-signer mona")));
  const CommandResult shown =
      RunMledge({"model", "inspect", file_, "--root", pki_ + "/root.crt"});
  EXPECT_EQ(shown.exit_status, 0) << shown.err;
  EXPECT_THAT(shown.out,
              AllOf(HasSubstr("model-signer mona"), HasSubstr("valid under"),
                    HasSubstr("[4] float"), HasSubstr("cross_entropy"),
                    HasSubstr("103 trained by gradient")));
}

TEST_F(ModelCommandTest, InspectSaysWhenTheSignatureIsForeign) {
  ASSERT_EQ(Create({"--architecture", "softmax-regression", "--seed", "1"})
                .exit_status,
            0);
  const std::string other = directory_.File("other");
  PkiOptions init;
  init.now = absl::Now();
  ASSERT_TRUE(InitializePki(other, init).ok());
  const CommandResult shown =
      RunMledge({"model", "inspect", file_, "--root", other + "/root.crt"});
  EXPECT_EQ(shown.exit_status, 0);
  EXPECT_THAT(shown.out, HasSubstr("NOT TRUSTED"));
  EXPECT_THAT(RunMledge({"model", "inspect", file_}).out,
              HasSubstr("not checked"));
}

// A package's code is itself a TorchScript file, so no Python is needed here.
TEST_F(ModelCommandTest, ImportsTorchScript) {
  ASSERT_EQ(Create({"--architecture", "mlp", "--inputs", "4", "--outputs", "3",
                    "--hidden", "8", "--seed", "7"})
                .exit_status,
            0);
  const absl::StatusOr<UnverifiedPackageFile> created =
      ParsePackageFileUnverified(ReadFile(file_).value());
  ASSERT_TRUE(created.ok()) << created.status();
  const std::string script = directory_.File("script.pt");
  ASSERT_TRUE(WriteFileAtomically(script, created->package.code).ok());
  const std::string imported = directory_.File("imported.mledge");
  const auto import = [&](const std::string& shape) {
    return RunMledge({"model", "import", script, "--name", "mine",
                      "--input-shape", shape, "--loss", "cross_entropy",
                      "--metric", "accuracy", "--signer",
                      pki_ + "/model-signer-mona", "--out", imported});
  };
  const CommandResult good = import("4");
  ASSERT_EQ(good.exit_status, 0) << good.err;
  const absl::StatusOr<UnverifiedPackageFile> file =
      ParsePackageFileUnverified(ReadFile(imported).value());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->package.name, "mine");
  EXPECT_EQ(file->package.output.shape, std::vector<int64_t>{3});
  EXPECT_EQ(file->package.layout->size(), 4 * 8 + 8 + 8 * 3 + 3);

  const CommandResult wrong_shape = import("5");
  EXPECT_EQ(wrong_shape.exit_status, 1);
  EXPECT_THAT(wrong_shape.err, HasSubstr("script.pt"));
}

TEST_F(ModelCommandTest, OperatorSignsNoPackages) {
  const CommandResult created =
      Create({"--architecture", "2nn", "--seed", "1"}, "operator-mona");
  EXPECT_EQ(created.exit_status, 1);
  EXPECT_THAT(created.err, HasSubstr("role model-signer is needed"));
  EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(ModelCommandTest, DamagedFileIsNamed) {
  ASSERT_EQ(Create({"--architecture", "softmax-regression", "--seed", "1"})
                .exit_status,
            0);
  std::string bytes = ReadFile(file_).value();
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  ASSERT_TRUE(WriteFileAtomically(file_, bytes).ok());
  const CommandResult shown = RunMledge({"model", "inspect", file_});
  EXPECT_EQ(shown.exit_status, 1);
  EXPECT_THAT(shown.err, AllOf(HasSubstr(file_), HasSubstr("SHA-256")));
}

TEST_F(ModelCommandTest, WrongOptionsAreNamed) {
  const CommandResult unknown =
      Create({"--architecture", "resnet", "--seed", "1"});
  EXPECT_EQ(unknown.exit_status, 2);
  EXPECT_THAT(unknown.err, HasSubstr("softmax-regression"));
  const CommandResult widths =
      Create({"--architecture", "2nn", "--hidden", "5", "--seed", "1"});
  EXPECT_EQ(widths.exit_status, 1);
  const CommandResult import = RunMledge(
      {"model", "import", directory_.File("none.pt"), "--name", "x",
       "--input-shape", "4", "--loss", "cross_entropy", "--metric", "accuracy",
       "--signer", pki_ + "/model-signer-mona", "--out", file_});
  EXPECT_EQ(import.exit_status, 1);
  EXPECT_THAT(import.err, HasSubstr("none.pt"));
}

TEST(VersionCommandTest, NamesWhatItWasBuiltFrom) {
  const CommandResult result = RunMledge({"version"});
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_THAT(result.out, AllOf(HasSubstr("LibTorch"), HasSubstr("OpenSSL"),
                                HasSubstr("Protobuf"), HasSubstr("compiler")));
}

}  // namespace
}  // namespace mledge
