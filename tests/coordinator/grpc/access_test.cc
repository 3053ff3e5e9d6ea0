// Who gets in: roles, foreign and expired certificates, plaintext, TLS 1.2.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "mledge/core/strings.h"
#include "mledge/tests/coordinator/grpc/test_server.h"
#include "mledge/tests/identity/hand_made_certificate.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class AccessTest : public TestServer {
 protected:
  grpc::Status CheckIn(const TlsIdentity& identity) {
    return CheckIn(DeviceStub(identity).get());
  }
  static grpc::Status CheckIn(v1::DeviceService::Stub* stub) {
    grpc::ClientContext context;
    SetDeadline(context);
    v1::CheckInResponse response;
    return stub->CheckIn(&context, v1::CheckInRequest(), &response);
  }
  // What `openssl s_client` says about a connection.
  std::string SClient(const std::string& options,
                      const v1::IdentityFiles* files) {
    std::string command =
        StrCat("openssl s_client -connect ", server_->address(), " -alpn h2 ",
               "-CAfile ", coordinator_identity_.root(), " ", options);
    if (files != nullptr) {
      StrAppend(&command, " -cert ", files->certificate(), " -cert_chain ",
                files->certificate(), " -key ", files->private_key());
    }
    FILE* pipe = popen(StrCat(command, " </dev/null 2>&1").c_str(), "r");
    std::string output;
    char buffer[4096];
    while (const size_t size = fread(buffer, 1, sizeof(buffer), pipe)) {
      output.append(buffer, size);
    }
    pclose(pipe);
    return output;
  }
};

TEST_F(AccessTest, DevicesAndEvaluatorsMayCheckIn) {
  EXPECT_TRUE(CheckIn(pki_.Issue(Role::kDevice, "d")).ok());
  EXPECT_TRUE(CheckIn(pki_.Issue(Role::kEvaluator, "e")).ok());
  EXPECT_EQ(coordinator_.check_ins()[0].peer.role, Peer::Role::kDevice);
  EXPECT_EQ(coordinator_.check_ins()[1].peer.role, Peer::Role::kEvaluator);
}

TEST_F(AccessTest, OtherRolesMayNotCheckIn) {
  const grpc::Status status = CheckIn(pki_.Issue(Role::kOperator, "alice"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(status.error_message(),
              AllOf(HasSubstr("operator alice"), HasSubstr("device")));
  EXPECT_TRUE(coordinator_.check_ins().empty());
}

TEST_F(AccessTest, OtherRolesMayNotFetchUploadOrReport) {
  const auto stub = DeviceStub(pki_.Issue(Role::kOperator, "alice"));
  {
    grpc::ClientContext context;
    v1::FetchChunk chunk;
    const auto reader = stub->Fetch(&context, v1::FetchRequest());
    EXPECT_FALSE(reader->Read(&chunk));
    EXPECT_EQ(reader->Finish().error_code(),
              grpc::StatusCode::PERMISSION_DENIED);
  }
  {
    grpc::ClientContext context;
    v1::UploadResponse response;
    const auto stream = stub->Upload(&context);
    EXPECT_FALSE(stream->Read(&response));
    EXPECT_EQ(stream->Finish().error_code(),
              grpc::StatusCode::PERMISSION_DENIED);
  }
  grpc::ClientContext context;
  v1::ReportResponse response;
  EXPECT_EQ(stub->Report(&context, v1::ReportRequest(), &response).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(AccessTest, OnlyOperatorsAdminister) {
  const auto admin = Admin(pki_.Issue(Role::kDevice, "device-1"));
  const auto denied =
      StatusIs(absl::StatusCode::kPermissionDenied,
               AllOf(HasSubstr("device device-1"), HasSubstr("operator")));
  EXPECT_THAT(admin->ListTasks(), denied);
  EXPECT_THAT(admin->GetTask("known"), denied);
  EXPECT_THAT(admin->CancelTask("known"), denied);
  EXPECT_THAT(admin->ListDevices(), denied);
  EXPECT_THAT(admin->FetchModel("known", std::nullopt), denied);
  EXPECT_THAT(admin->SubmitTask(v1::SignedMessage(), "package"), denied);
  EXPECT_THAT(
      admin->WatchTask(
          "known", [](const v1::TaskEvent&) {}, [](const absl::Status&) {}),
      denied);
}

TEST_F(AccessTest, CertificateOfAForeignRootGetsNoConnection) {
  const TestPki foreign(absl::Now(), "foreign");
  TlsIdentity intruder = foreign.Issue(Role::kDevice, "device-1");
  intruder.root_pem = pki_.root_pem();
  EXPECT_EQ(CheckIn(intruder).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(coordinator_.check_ins().empty());
}

TEST_F(AccessTest, ExpiredCertificateGetsNoConnection) {
  EXPECT_EQ(CheckIn(pki_.Issue(Role::kDevice, "device-1", absl::Hours(1)))
                .error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(coordinator_.check_ins().empty());
}

TEST_F(AccessTest, CertificateWithoutARoleIsDenied) {
  const PrivateKey key = PrivateKey::Generate();
  HandMade content;
  content.alternative_name = "DNS:device-1";
  content.not_before = pki_.now();
  content.not_after = absl::Now() + absl::Hours(1);
  TlsIdentity role_less = pki_.Issue(Role::kDevice, "device-1");
  role_less.certificate_chain_pem =
      MakeByHand(content, key.public_key(), pki_.registrar().certificate(),
                 pki_.registrar().key())
          .ToPem() +
      pki_.registrar().certificate().ToPem();
  role_less.private_key_pem = key.ToPem();
  const grpc::Status status = CheckIn(role_less);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(status.error_message(), HasSubstr("certificate"));
  EXPECT_TRUE(coordinator_.check_ins().empty());
}

TEST_F(AccessTest, ClientsDoNotTalkToAForeignCoordinator) {
  TlsIdentity device = pki_.Issue(Role::kDevice, "device-1");
  device.root_pem = TestPki(absl::Now(), "foreign").root_pem();
  EXPECT_EQ(CheckIn(device).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(AccessTest, PlaintextGetsNoConnection) {
  const auto stub = v1::DeviceService::NewStub(grpc::CreateChannel(
      server_->address(), grpc::InsecureChannelCredentials()));
  EXPECT_EQ(CheckIn(stub.get()).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(coordinator_.check_ins().empty());
}

TEST_F(AccessTest, Tls12IsRefusedAndTls13IsSpoken) {
  if (system("openssl version >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "there is no openssl command";
  }
  const v1::IdentityFiles files =
      WriteIdentity("device", pki_.Issue(Role::kDevice, "device-1"));
  EXPECT_THAT(SClient("-tls1_3", &files), HasSubstr("New, TLSv1.3, Cipher is"));
  const std::string old = SClient("-tls1_2", &files);
  EXPECT_THAT(old, HasSubstr("Cipher is (NONE)"));
  EXPECT_THAT(old, Not(HasSubstr("New, TLSv1.2, Cipher is")));
}

TEST_F(AccessTest, ClientWithoutACertificateGetsNoConnection) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = pki_.root_pem();
  const auto stub = v1::DeviceService::NewStub(
      grpc::CreateChannel(server_->address(), grpc::SslCredentials(options)));
  EXPECT_EQ(CheckIn(stub.get()).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(coordinator_.check_ins().empty());
}

// TLS looks at the dates when a connection begins, and never again.
TEST_F(AccessTest, CertificateThatExpiresOnAnOpenConnectionIsRefused) {
  const PrivateKey key = PrivateKey::Generate();
  HandMade content;
  content.not_before = pki_.now();
  content.not_after = absl::Now() + absl::Seconds(3);
  TlsIdentity short_lived = pki_.Issue(Role::kDevice, "device-1");
  short_lived.certificate_chain_pem =
      MakeByHand(content, key.public_key(), pki_.registrar().certificate(),
                 pki_.registrar().key())
          .ToPem() +
      pki_.registrar().certificate().ToPem();
  short_lived.private_key_pem = key.ToPem();
  const auto stub = DeviceStub(short_lived);
  const auto report = [&stub] {
    grpc::ClientContext context;
    SetDeadline(context);
    v1::ReportResponse response;
    return stub->Report(&context, v1::ReportRequest(), &response);
  };
  EXPECT_EQ(report().error_code(), grpc::StatusCode::OK);
  grpc::Status status;
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (status.ok() && absl::Now() < deadline) status = report();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(status.error_message(), HasSubstr("expired"));
}

}  // namespace
}  // namespace mledge
