#include "mledge/client/grpc/grpc_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <optional>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "mledge/client/memory_device_storage.h"
#include "mledge/client/uploader.h"
#include "mledge/core/mutex.h"
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

v1::SecaggDeviceMessage Leaving(const std::string& reason) {
  v1::SecaggDeviceMessage message;
  message.mutable_leave()->set_reason(reason);
  return message;
}

// What a device hears on a stream, for a test to wait for.
struct Heard {
  void Add(v1::SecureAggregationResponse message) {
    MutexLock lock(&mutex);
    reasons.push_back(message.result().reason());
    changed.SignalAll();
  }
  void End(absl::Status status) {
    MutexLock lock(&mutex);
    closed = status;
    changed.SignalAll();
  }
  std::vector<std::string> Wait(size_t messages) {
    MutexLock lock(&mutex);
    while (reasons.size() < messages && !closed.has_value()) {
      changed.Wait(&mutex);
    }
    return reasons;
  }
  absl::Status WaitForEnd() {
    MutexLock lock(&mutex);
    while (!closed.has_value()) changed.Wait(&mutex);
    return *closed;
  }

  Mutex mutex;
  CondVar changed;
  std::vector<std::string> reasons;
  std::optional<absl::Status> closed;
};

class SecureStreamTest : public GrpcConnectionTest {
 protected:
  std::shared_ptr<SecureStream> Open(Connection& connection) {
    v1::SecureAggregationJoin join;
    join.set_assignment_id("a1");
    return connection.OpenSecureAggregation(
        join,
        [heard = heard_](auto message) { heard->Add(std::move(message)); },
        [heard = heard_](absl::Status status) { heard->End(status); });
  }
  static v1::SecureAggregationResponse Answer(const std::string& reason) {
    v1::SecureAggregationResponse response;
    response.mutable_result()->set_reason(reason);
    return response;
  }

  const std::shared_ptr<Heard> heard_ = std::make_shared<Heard>();
};

TEST_F(SecureStreamTest, JoinsAndCarriesMessagesInOrderBothWays) {
  service_.secure = [](grpc::ServerContext*,
                       FakeDeviceService::SecureServerStream* stream) {
    v1::SecureAggregationRequest request;
    while (stream->Read(&request)) {
      stream->Write(Answer(request.has_join()
                               ? "join " + request.join().assignment_id()
                               : request.secagg().leave().reason()));
    }
    return grpc::Status::OK;
  };
  Serve();
  auto connection = Connect(device_);
  const auto stream = Open(*connection);
  std::vector<std::string> expected = {"join a1"};
  for (int i = 0; i < 50; ++i) {
    stream->Send(Leaving(StrCat("message ", i)));
    expected.push_back(StrCat("message ", i));
  }
  EXPECT_EQ(heard_->Wait(expected.size()), expected);
  stream->Close();
  EXPECT_THAT(heard_->WaitForEnd(), IsOk());
  stream->Send(Leaving("too late"));  // harmless
  stream->Close();
}

TEST_F(SecureStreamTest, CloseSendsWhatWaits) {
  std::promise<std::string> last;
  service_.secure = [&](grpc::ServerContext*,
                        FakeDeviceService::SecureServerStream* stream) {
    v1::SecureAggregationRequest request;
    std::string reason;
    while (stream->Read(&request)) reason = request.secagg().leave().reason();
    last.set_value(reason);
    return grpc::Status::OK;
  };
  Serve();
  auto connection = Connect(device_);
  auto stream = Open(*connection);
  for (int i = 0; i < 20; ++i) stream->Send(Leaving(StrCat(i)));
  stream->Close();
  stream.reset();
  EXPECT_EQ(last.get_future().get(), "19");
  EXPECT_THAT(heard_->WaitForEnd(), IsOk());
}

TEST_F(SecureStreamTest, EndSaysWhy) {
  service_.secure = [](grpc::ServerContext*,
                       FakeDeviceService::SecureServerStream*) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such assignment");
  };
  Serve();
  auto connection = Connect(device_);
  const auto stream = Open(*connection);
  EXPECT_THAT(heard_->WaitForEnd(), StatusIs(absl::StatusCode::kNotFound,
                                             HasSubstr("no such assignment")));
}

TEST_F(SecureStreamTest, CoordinatorThatIsNotThereIsUnavailable) {
  Serve();
  auto connection = Connect(device_);
  server_.reset();
  const auto stream = Open(*connection);
  stream->Send(Leaving("nobody hears this"));
  EXPECT_THAT(heard_->WaitForEnd(), StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(SecureStreamTest, CancelledStreamEndsAndTheConnectionCanGo) {
  service_.secure = [](grpc::ServerContext* context,
                       FakeDeviceService::SecureServerStream* stream) {
    stream->Write(Answer("here"));
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  };
  Serve();
  auto connection = Connect(device_);
  const auto stream = Open(*connection);
  heard_->Wait(1);
  connection.reset();
  EXPECT_THAT(heard_->WaitForEnd(), StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(SecureStreamTest, CoordinatorThatTalksOnAfterCloseIsCutOff) {
  std::promise<void> cut_off;
  service_.secure = [&](grpc::ServerContext*,
                        FakeDeviceService::SecureServerStream* stream) {
    v1::SecureAggregationRequest request;
    while (stream->Read(&request)) {
    }
    while (stream->Write(Answer("and another thing"))) {
    }
    cut_off.set_value();
    return grpc::Status::OK;
  };
  Serve();
  auto connection = Connect(device_);
  Open(*connection)->Close();
  cut_off.get_future().get();
  heard_->WaitForEnd().IgnoreError();
  EXPECT_TRUE(heard_->Wait(0).empty()) << "nobody listens any more";
}

TEST_F(SecureStreamTest, CoordinatorThatDoesNotEndAfterCloseIsCutOff) {
  std::atomic<bool> was_cut_off = false;
  service_.secure = [&](grpc::ServerContext* context,
                        FakeDeviceService::SecureServerStream*) {
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    was_cut_off = true;
    return grpc::Status::CANCELLED;
  };
  Serve();
  auto connection = Connect(device_);
  Open(*connection)->Close();
  for (int i = 0; i < 2000 && !was_cut_off; ++i) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_TRUE(was_cut_off);
}

TEST_F(SecureStreamTest, MaskedInputIsUploadedForItsSessionAndResumed) {
  Serve();
  auto connection = Connect(device_);
  const std::string masked(1 << 20, 'm');
  v1::UploadHeader header =
      MakeUploadHeader(AssignmentId("a1"), {Sha256Of(masked), masked.size()});
  header.set_session(std::string(32, 's'));
  const auto upload = [&] {
    std::promise<absl::StatusOr<v1::UploadResult>> promise;
    connection->Upload(header,
                       std::make_shared<MemoryUploadSource>(
                           std::make_shared<const std::string>(masked)),
                       kTimeout,
                       [&](auto answer) { promise.set_value(answer); });
    return promise.get_future().get();
  };
  service_.break_upload_after = 1 << 19;
  EXPECT_THAT(upload(), StatusIs(absl::StatusCode::kUnavailable));
  const auto result = upload();
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->outcome(), v1::UploadResult::RECEIVED);
  EXPECT_EQ(coordinator_.masked_inputs().at(std::string(32, 's')), masked);
  EXPECT_EQ(coordinator_.bytes_received(), masked.size()) << "nothing twice";
}

}  // namespace
}  // namespace mledge
