#include "mledge/client/grpc/grpc_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>

#include "absl/time/clock.h"
#include "mledge/client/memory_device_storage.h"
#include "mledge/client/uploader.h"
#include "mledge/tests/client/grpc/fake_device_service.h"
#include "mledge/tests/client/session_world.h"
#include "mledge/tests/support/proto_matchers.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::Duration kTimeout = absl::Seconds(30);

class GrpcConnectionTest : public ::testing::Test {
 protected:
  GrpcConnectionTest()
      : world_(Signers()),
        assignment_(world_.MakeAssignment()),
        coordinator_(world_.blobs, {assignment_}),
        service_(&coordinator_),
        device_(world_.pki.Issue(Role::kDevice, "device-1")) {}

  // TLS looks at the real clock.
  static std::shared_ptr<const SessionSigners> Signers() {
    static const auto& signers =
        *new auto(std::make_shared<const SessionSigners>(absl::Now()));
    return signers;
  }

  void Serve(const TlsIdentity& identity) {
    server_ = std::make_unique<TestServer>(&service_, identity);
  }
  void Serve() { Serve(world_.pki.Issue(Role::kCoordinator, "main")); }

  std::unique_ptr<Connection> Connect(const TlsIdentity& identity,
                                      const std::string& server_name = "") {
    auto connection = CreateGrpcConnection(
        {.target = server_->target(), .server_name = server_name}, identity);
    EXPECT_THAT(connection, IsOk());
    return *std::move(connection);
  }

  static absl::StatusOr<v1::CheckInResponse> CheckIn(
      Connection& connection, absl::Duration timeout = kTimeout) {
    std::promise<absl::StatusOr<v1::CheckInResponse>> promise;
    connection.CheckIn(v1::CheckInRequest(), timeout,
                       [&](auto answer) { promise.set_value(answer); });
    return promise.get_future().get();
  }
  static absl::Status Fetch(Connection& connection, const Digest& digest,
                            uint64_t offset, BlobSink sink) {
    std::promise<absl::Status> promise;
    connection.Fetch(digest, offset, sink, kTimeout,
                     [&](auto status) { promise.set_value(status); });
    return promise.get_future().get();
  }
  absl::StatusOr<v1::UploadResult> Upload(Connection& connection,
                                          const std::string& content) {
    std::promise<absl::StatusOr<v1::UploadResult>> promise;
    connection.Upload(
        MakeUploadHeader(AssignmentId(assignment_.assignment_id()),
                         {Sha256Of(content), content.size()}),
        std::make_shared<MemoryUploadSource>(
            std::make_shared<const std::string>(content)),
        kTimeout, [&](auto answer) { promise.set_value(answer); });
    return promise.get_future().get();
  }

  SessionWorld world_;
  const v1::Assignment assignment_;
  FakeCoordinator coordinator_;
  FakeDeviceService service_;
  const TlsIdentity device_;
  std::unique_ptr<TestServer> server_;
};

TEST_F(GrpcConnectionTest, ChecksInFetchesUploadsAndReports) {
  Serve();
  auto connection = Connect(device_);
  EXPECT_THAT(CheckIn(*connection),
              IsOkAndHolds(EqualsProto(Handing(assignment_))));
  std::string package;
  EXPECT_THAT(Fetch(*connection, world_.package_digest, 0,
                    [&](std::string_view bytes) {
                      package += bytes;
                      return absl::OkStatus();
                    }),
              IsOk());
  EXPECT_EQ(Sha256Of(package), world_.package_digest);
  const auto result = Upload(*connection, "an update");
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->outcome(), v1::UploadResult::ACKNOWLEDGED);
  EXPECT_EQ(coordinator_.acknowledged().at("a1"), "an update");
  v1::ReportRequest report;
  report.set_reason("because");
  std::promise<absl::Status> promise;
  connection->Report(report, kTimeout,
                     [&](auto answer) { promise.set_value(answer.status()); });
  EXPECT_THAT(promise.get_future().get(), IsOk());
  EXPECT_THAT(coordinator_.reports(), ::testing::ElementsAre("because"));
}

TEST_F(GrpcConnectionTest, FetchGoesOnFromAnOffset) {
  Serve();
  auto connection = Connect(device_);
  const std::string& whole = *world_.blobs.at(world_.package_digest);
  std::string rest;
  EXPECT_THAT(Fetch(*connection, world_.package_digest, 100,
                    [&](std::string_view bytes) {
                      rest += bytes;
                      return absl::OkStatus();
                    }),
              IsOk());
  EXPECT_EQ(rest, whole.substr(100));
}

TEST_F(GrpcConnectionTest, FetchEndsWithTheSinksError) {
  Serve();
  service_.chunk_size = 10;
  auto connection = Connect(device_);
  EXPECT_THAT(Fetch(*connection, world_.package_digest, 0,
                    [](std::string_view) {
                      return absl::ResourceExhaustedError("disk full");
                    }),
              StatusIs(absl::StatusCode::kResourceExhausted, "disk full"));
}

TEST_F(GrpcConnectionTest, UnknownBlobIsNotFound) {
  Serve();
  auto connection = Connect(device_);
  EXPECT_THAT(Fetch(*connection, Digest(), 0,
                    [](std::string_view) { return absl::OkStatus(); }),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(GrpcConnectionTest, LargeUpdateTravelsInChunks) {
  Serve();
  auto connection = Connect(device_);
  const std::string content(20 << 20, 'u');
  const auto result = Upload(*connection, content);
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->outcome(), v1::UploadResult::ACKNOWLEDGED);
  EXPECT_EQ(coordinator_.bytes_received(), content.size());
  EXPECT_LE(service_.largest_chunk, 1 << 20);
}

TEST_F(GrpcConnectionTest, UploadGoesOnWhereItWasBrokenOff) {
  Serve();
  auto connection = Connect(device_);
  const std::string content(10 << 20, 'u');
  service_.break_upload_after = 3 << 20;
  EXPECT_THAT(Upload(*connection, content),
              StatusIs(absl::StatusCode::kUnavailable));
  const auto result = Upload(*connection, content);
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->outcome(), v1::UploadResult::ACKNOWLEDGED);
  EXPECT_EQ(coordinator_.bytes_received(), content.size())
      << "no byte went twice";
}

TEST_F(GrpcConnectionTest, SameUploadAgainIsASuccess) {
  Serve();
  auto connection = Connect(device_);
  ASSERT_THAT(Upload(*connection, "an update"), IsOk());
  const auto again = Upload(*connection, "an update");
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->outcome(), v1::UploadResult::ACKNOWLEDGED);
  EXPECT_EQ(coordinator_.conflicts(), 0);
}

TEST_F(GrpcConnectionTest, CancelAllEndsAWaitingCheckIn) {
  Serve();
  service_.hang = true;
  auto connection = Connect(device_);
  std::promise<absl::Status> promise;
  connection->CheckIn(v1::CheckInRequest(), kTimeout,
                      [&](auto answer) { promise.set_value(answer.status()); });
  connection->CancelAll();
  EXPECT_THAT(promise.get_future().get(),
              StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(GrpcConnectionTest, CheckInWithoutAnswerTimesOut) {
  Serve();
  service_.hang = true;
  auto connection = Connect(device_);
  EXPECT_THAT(CheckIn(*connection, absl::Milliseconds(500)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(GrpcConnectionTest, NobodyThereIsUnavailableAndNamesTheAddress) {
  Serve();
  const std::string target = server_->target();
  auto connection = Connect(device_);
  server_.reset();
  EXPECT_THAT(CheckIn(*connection),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(target)));
}

TEST_F(GrpcConnectionTest, ReconnectsAfterTheCoordinatorWasAway) {
  Serve();
  auto connection = Connect(device_);
  ASSERT_THAT(CheckIn(*connection), IsOk());
  connection->CancelAll();
  ASSERT_THAT(CheckIn(*connection), IsOk());
}

TEST_F(GrpcConnectionTest, CoordinatorOfAForeignRootIsNotTrusted) {
  const TestPki foreign(absl::Now(), "foreign");
  Serve(foreign.Issue(Role::kCoordinator, "main"));
  auto connection = Connect(device_);
  const absl::Status status = CheckIn(*connection).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnauthenticated,
                               HasSubstr("coordinator's certificate is not "
                                         "accepted")));
}

TEST_F(GrpcConnectionTest, ExpiredCoordinatorIsNamedAsSuch) {
  // The chain is checked by the device's clock alone: a certificate that ended
  // before now.
  const TestPki past(absl::Now() - absl::Hours(48), "past");
  TlsIdentity device = past.Issue(Role::kDevice, "device-1");
  Serve(past.Issue(Role::kCoordinator, "main", absl::Hours(24)));
  auto connection = Connect(device);
  EXPECT_THAT(CheckIn(*connection), StatusIs(absl::StatusCode::kUnauthenticated,
                                             HasSubstr("expired")));
}

TEST_F(GrpcConnectionTest, PeerThatIsNoCoordinatorIsNotTrusted) {
  Serve(world_.pki.Issue(Role::kDevice, "device-2"));
  auto connection = Connect(device_);
  EXPECT_THAT(CheckIn(*connection),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       HasSubstr("the peer is device device-2")));
}

TEST_F(GrpcConnectionTest, CoordinatorOfAnotherNameIsNotTrusted) {
  Serve();
  auto connection = Connect(device_, "fleet.example.org");
  EXPECT_THAT(
      CheckIn(*connection),
      StatusIs(absl::StatusCode::kUnauthenticated,
               AllOf(HasSubstr("not for 'fleet.example.org'"),
                     HasSubstr("localhost"), HasSubstr("coordinator_name"))));
}

TEST_F(GrpcConnectionTest, CertificateNameMayDifferFromTheAddress) {
  Serve();
  auto connection =
      CreateGrpcConnection({.target = StrCat("127.0.0.1:", server_->port()),
                            .server_name = "localhost"},
                           device_);
  ASSERT_THAT(connection, IsOk());
  EXPECT_THAT(CheckIn(**connection), IsOk());
}

TEST_F(GrpcConnectionTest, DeviceOfAForeignRootIsNotAdmitted) {
  Serve();
  const TestPki foreign(absl::Now(), "foreign");
  // Trusts the coordinator's root, but cannot prove itself to it.
  TlsIdentity device = foreign.Issue(Role::kDevice, "device-1");
  device.root_pem = world_.pki.root_pem();
  EXPECT_THAT(CreateGrpcConnection({.target = server_->target()}, device),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       HasSubstr("this device's own certificate")));
}

TEST_F(GrpcConnectionTest, OwnExpiredCertificateIsNamedBeforeConnecting) {
  const TestPki past(absl::Now() - absl::Hours(48), "past");
  Serve();
  EXPECT_THAT(
      CreateGrpcConnection(
          {.target = server_->target()},
          past.Issue(Role::kDevice, "device-1", absl::Hours(24))),
      StatusIs(absl::StatusCode::kUnauthenticated,
               AllOf(HasSubstr("own certificate"), HasSubstr("expired"))));
}

TEST_F(GrpcConnectionTest, CoordinatorThatRejectsThisDeviceGivesAHint) {
  // The server trusts another root than the one that issued this device.
  const TestPki other(absl::Now(), "other");
  TlsIdentity server = world_.pki.Issue(Role::kCoordinator, "main");
  server.root_pem = other.root_pem();
  Serve(server);
  auto connection = Connect(device_);
  const absl::Status status = CheckIn(*connection).status();
  EXPECT_THAT(status, ::testing::Not(IsOk()));
  EXPECT_THAT(std::string(status.message()), HasSubstr("certificate"));
}

TEST_F(GrpcConnectionTest, NeverTalksPlaintext) {
  server_ = TestServer::Plaintext(&service_);
  auto connection = Connect(device_);
  const absl::Status status = CheckIn(*connection).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(coordinator_.check_ins(), 0);
}

TEST_F(GrpcConnectionTest, TargetWithoutPortIsRefused) {
  EXPECT_THAT(
      CreateGrpcConnection({.target = "localhost"}, device_),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("host:port")));
}

}  // namespace
}  // namespace mledge
