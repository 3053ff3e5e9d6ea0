#include "mledge/identity/tls_identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <string>

#include "mledge/core/file.h"
#include "mledge/identity/pki_directory.h"
#include "mledge/identity/private_key.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::array kDevice = {Role::kDevice};
const absl::Time kNow = absl::FromUnixSeconds(1767225600);

class TlsIdentityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_THAT(InitializePki(directory_.path(), {.now = kNow}), IsOk());
    ASSERT_THAT(Issue(Role::kDevice, "one"), IsOk());
    files_ = IdentityFilesIn(directory_.File("device-one"));
  }
  absl::Status Issue(Role role, const std::string& id) {
    return IssueIdentity(directory_.path(),
                         {.identity = {role, id}, .now = kNow})
        .status();
  }
  absl::StatusOr<TlsIdentity> Load() {
    return LoadTlsIdentity(files_, kDevice, kNow);
  }

  const TempDirectory directory_;
  v1::IdentityFiles files_;
};

TEST_F(TlsIdentityTest, LoadsWhatWasIssued) {
  const absl::StatusOr<TlsIdentity> loaded = Load();
  ASSERT_THAT(loaded, IsOk());
  EXPECT_EQ(loaded->identity, (Identity{Role::kDevice, "one"}));
  EXPECT_EQ(loaded->not_after, kNow + absl::Hours(24 * 90));
  EXPECT_FALSE(loaded->private_key_pem.empty());
}

TEST_F(TlsIdentityTest, MissingFilesAreNamedWithTheirField) {
  for (const char* name : {"certificate.pem", "private_key.pem", "root.pem"}) {
    const std::string path = directory_.File("device-one/") + name;
    const std::string away = path + ".away";
    ASSERT_EQ(rename(path.c_str(), away.c_str()), 0);
    EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kNotFound, HasSubstr(path)));
    ASSERT_EQ(rename(away.c_str(), path.c_str()), 0);
  }
}

TEST_F(TlsIdentityTest, UnsetFieldsAreNamed) {
  const v1::IdentityFiles all = files_;
  files_.clear_certificate();
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("identity.certificate is not set")));
  files_ = all;
  files_.clear_private_key();
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("identity.private_key is not set")));
  files_ = all;
  files_.clear_root();
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("identity.root is not set")));
}

TEST_F(TlsIdentityTest, KeyOfAnotherCertificateIsRefused) {
  ASSERT_THAT(Issue(Role::kDevice, "two"), IsOk());
  files_.set_private_key(directory_.File("device-two/private_key.pem"));
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument,
                               AllOf(HasSubstr("device-two/private_key.pem"),
                                     HasSubstr("does not belong"),
                                     HasSubstr("device-one/certificate.pem"))));
}

TEST_F(TlsIdentityTest, KeyThatOthersMayReadIsRefused) {
  ASSERT_EQ(chmod(files_.private_key().c_str(), 0644), 0);
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kPermissionDenied,
                               HasSubstr("chmod 600")));
}

TEST_F(TlsIdentityTest, WrongRoleIsNamedWithTheRightOne) {
  ASSERT_THAT(Issue(Role::kOperator, "alice"), IsOk());
  files_ = IdentityFilesIn(directory_.File("operator-alice"));
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kPermissionDenied,
                               AllOf(HasSubstr("operator alice"),
                                     HasSubstr("role device is needed"))));
  EXPECT_THAT(LoadTlsIdentity(files_, {}, kNow), IsOk());
}

TEST_F(TlsIdentityTest, ExpiredCertificateIsRefused) {
  EXPECT_THAT(LoadTlsIdentity(files_, kDevice, kNow + absl::Hours(24 * 91)),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       AllOf(HasSubstr("device-one/certificate.pem"),
                             HasSubstr("expired"))));
}

TEST_F(TlsIdentityTest, CertificateThatIsNotYetValidIsRefused) {
  EXPECT_THAT(LoadTlsIdentity(files_, kDevice, kNow - absl::Hours(1)),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("not yet valid")));
}

TEST_F(TlsIdentityTest, RootOfAnotherPkiIsRefused) {
  const TempDirectory other;
  ASSERT_THAT(InitializePki(other.path(), {.name = "other", .now = kNow}),
              IsOk());
  files_.set_root(other.File("root.crt"));
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kPermissionDenied,
                               HasSubstr("does not lead to the trusted root")));
}

TEST_F(TlsIdentityTest, RegistrarIsNoRoot) {
  files_.set_root(directory_.File("registrar.crt"));
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("registrar.crt")));
}

TEST_F(TlsIdentityTest, SwappedFilesAreNamed) {
  files_.set_certificate(files_.private_key());
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("holds a private key")));
}

}  // namespace
}  // namespace mledge
