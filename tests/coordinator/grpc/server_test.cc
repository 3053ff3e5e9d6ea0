#include "mledge/coordinator/grpc/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mledge/core/strings.h"
#include "mledge/tests/coordinator/grpc/test_server.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class CoordinatorServerTest : public TestServer {
 protected:
  grpc::Status Fetch(const std::string& sha256, uint64_t offset,
                     std::vector<std::string>* chunks) {
    const auto stub = DeviceStub();
    grpc::ClientContext context;
    SetDeadline(context);
    v1::FetchRequest request;
    request.set_sha256(sha256);
    request.set_offset(offset);
    const auto reader = stub->Fetch(&context, request);
    v1::FetchChunk chunk;
    while (reader->Read(&chunk)) chunks->push_back(chunk.data());
    return reader->Finish();
  }
};

TEST_F(CoordinatorServerTest, CheckInKnowsTheDeviceFromItsCertificate) {
  const auto stub = DeviceStub("device-7");
  grpc::ClientContext context;
  SetDeadline(context);
  v1::CheckInRequest request;
  request.set_population("phones");
  v1::CheckInResponse response;
  const grpc::Status status = stub->CheckIn(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.come_back().reason(), "device-7");
  ASSERT_THAT(coordinator_.check_ins(), SizeIs(1));
  EXPECT_EQ(coordinator_.check_ins()[0].request.population(), "phones");
  EXPECT_LE(coordinator_.check_ins()[0].wait, absl::Seconds(20));
}

TEST_F(CoordinatorServerTest, CheckInWaitsNoLongerThanTheCaller) {
  const auto stub = DeviceStub();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(10));
  v1::CheckInResponse response;
  stub->CheckIn(&context, v1::CheckInRequest(), &response);
  ASSERT_THAT(coordinator_.check_ins(), SizeIs(1));
  EXPECT_LE(coordinator_.check_ins()[0].wait, absl::Seconds(9));
}

TEST_F(CoordinatorServerTest, ReportReachesTheCoordinator) {
  const auto stub = DeviceStub("device-3");
  grpc::ClientContext context;
  SetDeadline(context);
  v1::ReportRequest request;
  request.set_reason("battery low");
  v1::ReportResponse response;
  ASSERT_TRUE(stub->Report(&context, request, &response).ok());
  EXPECT_THAT(coordinator_.reports(),
              ElementsAre(std::pair<std::string, std::string>("device-3",
                                                              "battery low")));
}

TEST_F(CoordinatorServerTest, FetchSendsABlobInChunksFromAnyOffset) {
  std::string blob(1'000'000, '\0');
  for (size_t i = 0; i < blob.size(); ++i) blob[i] = static_cast<char>(i % 251);
  const Digest name = coordinator_.AddBlob(blob);
  for (uint64_t offset :
       {uint64_t{0}, uint64_t{1}, uint64_t{999'999}, uint64_t{1'000'000}}) {
    SCOPED_TRACE(offset);
    std::vector<std::string> chunks;
    ASSERT_TRUE(Fetch(name.ToBytes(), offset, &chunks).ok());
    std::string all;
    for (const std::string& chunk : chunks) {
      EXPECT_LE(chunk.size(), 256u << 10);
      all += chunk;
    }
    EXPECT_EQ(all, blob.substr(offset));
  }
}

TEST_F(CoordinatorServerTest, FetchNamesWhatIsWrong) {
  std::vector<std::string> chunks;
  const Digest name = coordinator_.AddBlob("blob");
  EXPECT_EQ(Fetch(name.ToBytes(), 5, &chunks).error_code(),
            grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(Fetch(std::string(32, 'x'), 0, &chunks).error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Fetch("short", 0, &chunks).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(CoordinatorServerTest, OperatorSeesLedgersAndAdoptsThem) {
  const auto admin = Admin();
  const auto ledger = admin->GetPrivacyLedger("known");
  ASSERT_THAT(ledger, IsOk());
  EXPECT_EQ(ledger->mechanism(), "known");
  v1::LedgerAdoptionStatement statement;
  statement.set_lost_sequence(7);
  const std::string payload = statement.SerializeAsString();
  ASSERT_THAT(
      admin->AdoptPrivacyLedger(pki_.MakeSigner(Role::kOperator, "alice")
                                    .Sign(kLedgerAdoptionContext, payload)),
      IsOk());
  ASSERT_EQ(coordinator_.adoptions().size(), 1u);
  EXPECT_EQ(coordinator_.adoptions()[0].operator_id, "alice");
  EXPECT_EQ(coordinator_.adoptions()[0].statement.lost_sequence(), 7);
}

// Who is connected does not matter, who signed does, and for what.
TEST_F(CoordinatorServerTest, AdoptionOfNobodysIsRefused) {
  const auto admin = Admin();
  for (const v1::SignedMessage& adoption :
       {pki_.MakeSigner(Role::kOperator, "mallory")
            .Sign(kLedgerAdoptionContext, ""),
        pki_.MakeSigner(Role::kDevice, "alice")
            .Sign(kLedgerAdoptionContext, ""),
        pki_.MakeSigner(Role::kOperator, "alice").Sign(kTaskContext, "")}) {
    EXPECT_THAT(admin->AdoptPrivacyLedger(adoption),
                StatusIs(absl::StatusCode::kPermissionDenied,
                         HasSubstr("trusted_operators")));
  }
  EXPECT_TRUE(coordinator_.adoptions().empty());
}

TEST_F(CoordinatorServerTest, OperatorListsShowsAndCancels) {
  const auto admin = Admin();
  const auto tasks = admin->ListTasks();
  ASSERT_THAT(tasks, IsOk());
  EXPECT_EQ(tasks->tasks(0).task_id(), "known");
  EXPECT_THAT(admin->GetTask("known"), IsOk());
  EXPECT_THAT(admin->GetTask("other"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("other")));
  EXPECT_THAT(admin->CancelTask("known"), IsOk());
  EXPECT_THAT(admin->CancelTask("other"),
              StatusIs(absl::StatusCode::kNotFound));
  const auto devices = admin->ListDevices();
  ASSERT_THAT(devices, IsOk());
  EXPECT_EQ(devices->devices(0).device_id(), "device-1");
}

TEST_F(CoordinatorServerTest, WatchPassesEventsOnUntilTheTaskEnds) {
  std::vector<v1::TaskEvent> seen;
  ASSERT_THAT(
      Admin()->WatchTask(
          "known", [&](const v1::TaskEvent& event) { seen.push_back(event); },
          [](const absl::Status&) {}),
      IsOk());
  ASSERT_FALSE(seen.empty());
  EXPECT_TRUE(seen.front().has_round_started());
  EXPECT_TRUE(seen.back().has_task_ended());
  EXPECT_THAT(
      Admin()->WatchTask(
          "other", [](const v1::TaskEvent&) {}, [](const absl::Status&) {}),
      StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(CoordinatorServerTest, FetchModelBringsPackageAndParameters) {
  const auto newest = Admin()->FetchModel("known", std::nullopt);
  ASSERT_THAT(newest, IsOk());
  EXPECT_EQ(newest->version.version(), 7);
  EXPECT_EQ(newest->package_file, "the package");
  EXPECT_EQ(newest->parameters, std::string(700'000, 'p'));
  const auto third = Admin()->FetchModel("known", 3);
  ASSERT_THAT(third, IsOk());
  EXPECT_EQ(third->version.version(), 3);
}

TEST_F(CoordinatorServerTest, PortInUseIsToldWithTheAddress) {
  EXPECT_THAT(StartServer(server_->address()),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr(server_->address()),
                             HasSubstr("already in use"))));
}

TEST_F(CoordinatorServerTest, AddressThatIsNoneIsRefused) {
  for (const char* listen : {"", "7443", ":7443", "localhost", "host:port",
                             "localhost:70000", "localhost:-1"}) {
    SCOPED_TRACE(listen);
    EXPECT_THAT(
        StartServer(listen),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("listen")));
  }
}

TEST_F(CoordinatorServerTest, CertificateOfAnotherRoleIsRefusedAtStart) {
  coordinator_identity_ =
      WriteIdentity("device", pki_.Issue(Role::kDevice, "device-1"));
  EXPECT_THAT(StartServer("127.0.0.1:0"),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(CoordinatorServerTest, ShutdownEndsOpenCalls) {
  const auto admin = Admin();
  ASSERT_THAT(admin->ListTasks(), IsOk());
  server_->Shutdown(absl::ZeroDuration());
  EXPECT_THAT(admin->ListTasks(), StatusIs(absl::StatusCode::kUnavailable,
                                           HasSubstr("cannot reach")));
}

}  // namespace
}  // namespace mledge
