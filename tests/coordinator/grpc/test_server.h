#ifndef MLEDGE_TESTS_COORDINATOR_GRPC_TEST_SERVER_H_
#define MLEDGE_TESTS_COORDINATOR_GRPC_TEST_SERVER_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "mledge/coordinator/grpc/admin_client.h"
#include "mledge/coordinator/grpc/credentials.h"
#include "mledge/coordinator/grpc/server.h"
#include "mledge/core/clock.h"
#include "mledge/core/file.h"
#include "mledge/tests/coordinator/grpc/fake_coordinator.h"
#include "mledge/tests/support/temp_directory.h"
#include "mledge/tests/support/test_pki.h"
#include "mledge/v1/device_service.grpc.pb.h"

// A server with real mutual TLS on a free port, over a FakeCoordinator, and
// clients of any identity.

namespace mledge {

class TestServer : public ::testing::Test {
 protected:
  // Old enough for certificates that have expired.
  TestServer() : pki_(absl::Now() - absl::Hours(48)) {}

  void SetUp() override {
    coordinator_identity_ =
        WriteIdentity("coordinator", pki_.Issue(Role::kCoordinator, "c1"));
    auto server = StartServer("127.0.0.1:0");
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void TearDown() override {
    if (server_ != nullptr) server_->Shutdown(absl::ZeroDuration());
  }

  absl::StatusOr<std::unique_ptr<CoordinatorServer>> StartServer(
      const std::string& listen) {
    return CoordinatorServer::Start(
        {.listen = listen,
         .identity = coordinator_identity_,
         .trusted_operators = {"alice"},
         .trusted_model_signers = {"sam"},
         .maximum_upload_bytes = kMaximumUpload},
        {.coordinator = &coordinator_, .clock = &clock_});
  }

  v1::IdentityFiles WriteIdentity(const std::string& name,
                                  const TlsIdentity& identity) {
    const std::string folder = directory_.File(name);
    EXPECT_TRUE(EnsureWritableDirectory(folder).ok());
    const v1::IdentityFiles files = IdentityFilesIn(folder);
    const auto key = identity.private_key_pem.bytes(RevealSecret());
    EXPECT_TRUE(
        WriteFileAtomically(files.certificate(), identity.certificate_chain_pem)
            .ok());
    EXPECT_TRUE(WriteFileAtomically(
                    files.private_key(),
                    {reinterpret_cast<const char*>(key.data()), key.size()},
                    FileMode::kPrivate)
                    .ok());
    EXPECT_TRUE(WriteFileAtomically(files.root(), identity.root_pem).ok());
    return files;
  }

  std::shared_ptr<grpc::Channel> Channel(const TlsIdentity& identity) {
    grpc::ChannelArguments arguments;
    // Each channel shakes hands for itself.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(
        server_->address(), MutualTlsChannelCredentials(identity), arguments);
  }
  std::unique_ptr<v1::DeviceService::Stub> DeviceStub(
      const TlsIdentity& identity) {
    return v1::DeviceService::NewStub(Channel(identity));
  }
  std::unique_ptr<v1::DeviceService::Stub> DeviceStub(
      const std::string& id = "device-1") {
    return DeviceStub(pki_.Issue(Role::kDevice, id));
  }
  std::unique_ptr<AdminClient> Admin(const TlsIdentity& identity) {
    return AdminClient::Create({.coordinator = server_->address(),
                                .reconnect_for = absl::ZeroDuration()},
                               identity)
        .value();
  }
  std::unique_ptr<AdminClient> Admin() {
    return Admin(pki_.Issue(Role::kOperator, "alice"));
  }
  static void SetDeadline(grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(60));
  }

  static constexpr uint64_t kMaximumUpload = uint64_t{16} << 20;

  TempDirectory directory_;
  RealClock clock_;
  TestPki pki_;
  v1::IdentityFiles coordinator_identity_;
  FakeCoordinator coordinator_;
  std::unique_ptr<CoordinatorServer> server_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_COORDINATOR_GRPC_TEST_SERVER_H_
