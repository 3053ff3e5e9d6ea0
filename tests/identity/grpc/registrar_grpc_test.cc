// The registrar over real TLS, in one process: who gets in, what the client
// believes, and that statements survive the journey.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <future>
#include <string>

#include "mledge/core/file.h"
#include "mledge/core/strings.h"
#include "mledge/identity/grpc/registrar_client.h"
#include "mledge/identity/grpc/registrar_server.h"
#include "mledge/identity/grpc/registrar_verifier.h"
#include "mledge/identity/registrar/server_certificate.h"
#include "mledge/identity/revocation_list.h"
#include "mledge/tests/identity/registrar/registrar_harness.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"
#include "mledge/v1/registrar_service.grpc.pb.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

class RegistrarGrpcTest : public ::testing::Test {
 protected:
  void SetUp() override {
    registrar_ = harness_.Start(&storage_).value();
    const auto files = WriteServerCertificate(
        {.directory = directory_.File("tls"),
         .hosts = {"localhost", "127.0.0.1"},
         .now = absl::Now()},
        harness_.pki().registrar(), harness_.pki().root().certificate());
    ASSERT_THAT(files, IsOk());
    auto server = RegistrarServer::Start(
        {.listen = "127.0.0.1:0",
         .enroll_listen = "127.0.0.1:0",
         .certificate_file = files->certificate,
         .private_key_file = files->private_key,
         .root_file = files->root},
        {.registrar = registrar_.get(), .clock = &clock_});
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  const TestPki& pki() const { return harness_.pki(); }
  std::unique_ptr<RegistrarClient> ClientOf(const TlsIdentity& identity) const {
    return RegistrarClient::Create({.address = server_->address()}, identity,
                                   harness_.public_key())
        .value();
  }
  std::unique_ptr<RegistrarClient> ClientOf(Role role,
                                            const std::string& id) const {
    return ClientOf(pki().Issue(role, id));
  }
  static absl::StatusOr<WitnessStatement> Ask(Witness& witness, uint64_t number,
                                              const std::string& directory) {
    std::promise<absl::StatusOr<WitnessStatement>> answer;
    witness.WitnessDirectory(DigestOf("task"), number, DigestOf(directory),
                             [&](auto result) { answer.set_value(result); });
    return answer.get_future().get();
  }
  static absl::StatusOr<SetsStatement> AskSets(Witness& witness,
                                               uint64_t number,
                                               const std::string& sets) {
    std::promise<absl::StatusOr<SetsStatement>> answer;
    witness.WitnessSets(DigestOf("task"), number, /*group=*/2,
                        DigestOf("session"), DigestOf(sets),
                        [&](auto result) { answer.set_value(result); });
    return answer.get_future().get();
  }
  static absl::StatusOr<VersionLogHead> Append(Witness& witness,
                                               uint64_t version,
                                               const std::string& entry) {
    std::promise<absl::StatusOr<VersionLogHead>> answer;
    witness.AppendVersion(DigestOf("task"), version, DigestOf(entry),
                          [&](auto result) { answer.set_value(result); });
    return answer.get_future().get();
  }
  // What `openssl s_client` says about a connection.
  std::string SClient(const std::string& options) const {
    const TlsIdentity device = pki().Issue(Role::kDevice, "d");
    const std::string certificate = directory_.File("d.pem");
    const std::string key = directory_.File("d.key");
    EXPECT_THAT(WriteFileAtomically(certificate, device.certificate_chain_pem),
                IsOk());
    EXPECT_THAT(WritePrivateKey(
                    PrivateKey::FromPem(device.private_key_pem).value(), key),
                IsOk());
    FILE* pipe =
        popen(StrCat("openssl s_client -connect ", server_->address(),
                     " -alpn h2 -CAfile ", directory_.File("tls/root.pem"),
                     " -cert ", certificate, " -cert_chain ", certificate,
                     " -key ", key, " ", options, " </dev/null 2>&1; rm ", key)
                  .c_str(),
              "r");
    std::string output;
    char buffer[4096];
    while (const size_t size = fread(buffer, 1, sizeof(buffer), pipe)) {
      output.append(buffer, size);
    }
    pclose(pipe);
    return output;
  }
  EnrollOptions Enrollment(const std::string& token) const {
    return {.address = server_->enroll_address(),
            .token = token,
            .root_fingerprint = pki().root().certificate().fingerprint(),
            .identity = {Role::kDevice, "new"}};
  }

  const TempDirectory directory_;
  RealClock clock_;
  RegistrarHarness harness_{absl::Now() - absl::Hours(2)};
  MemoryRegistrarStorage storage_;
  std::unique_ptr<Registrar> registrar_;
  std::unique_ptr<RegistrarServer> server_;
};

TEST_F(RegistrarGrpcTest, CoordinatorHasASessionAndAVersionWitnessed) {
  const auto client = ClientOf(Role::kCoordinator, "main");
  const auto statement = Ask(*client, 1, "directory");
  ASSERT_THAT(statement, IsOk());
  EXPECT_THAT(statement->Verify(harness_.public_key()), IsOk());
  EXPECT_THAT(Ask(*client, 1, "directory"), IsOkAndHolds(*statement));
  EXPECT_THAT(Ask(*client, 1, "other"),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr("another directory")));
  EXPECT_THAT(AskSets(*client, 2, "sets"),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr("no witnessed directory")));
  const auto sets = AskSets(*client, 1, "sets");
  ASSERT_THAT(sets, IsOk());
  EXPECT_EQ(sets->group, 2u);
  EXPECT_THAT(sets->Verify(harness_.public_key()), IsOk());
  EXPECT_THAT(AskSets(*client, 1, "sets"), IsOkAndHolds(*sets));
  EXPECT_THAT(
      AskSets(*client, 1, "others"),
      StatusIs(StatusCode::kFailedPrecondition, HasSubstr("other sets")));
  const auto head = Append(*client, 0, "v0");
  ASSERT_THAT(head, IsOk());
  EXPECT_THAT(head->Verify(harness_.public_key()), IsOk());
  EXPECT_THAT(Append(*client, 2, "v2"),
              StatusIs(StatusCode::kFailedPrecondition));
}

TEST_F(RegistrarGrpcTest, OtherRolesHaveNothingWitnessed) {
  for (const Role role : {Role::kDevice, Role::kOperator, Role::kEvaluator}) {
    const auto client = ClientOf(role, "main");
    EXPECT_THAT(Ask(*client, 1, "directory"),
                StatusIs(StatusCode::kPermissionDenied,
                         HasSubstr(std::string(ToString(role)))));
    EXPECT_THAT(AskSets(*client, 1, "sets"),
                StatusIs(StatusCode::kPermissionDenied));
    EXPECT_THAT(Append(*client, 0, "v0"),
                StatusIs(StatusCode::kPermissionDenied));
  }
}

TEST_F(RegistrarGrpcTest, OperatorIssuesAndRevokesAndDeviceIsRefusedFromThen) {
  const auto alice = ClientOf(Role::kOperator, "alice");
  const PrivateKey key = PrivateKey::Generate();
  const Identity one{Role::kDevice, "one"};
  const auto chain =
      alice->IssueCertificate(CreateCertificateSigningRequest(key, one));
  ASSERT_THAT(chain, IsOk());
  TlsIdentity identity;
  identity.certificate_chain_pem = *chain;
  identity.private_key_pem = key.ToPem();
  identity.root_pem = pki().root_pem();
  const auto device = ClientOf(identity);
  ASSERT_THAT(device->GetRevocationList(), IsOk());
  // It renews itself, and nobody else.
  EXPECT_THAT(
      device->IssueCertificate(CreateCertificateSigningRequest(key, one)),
      IsOk());
  EXPECT_THAT(device->IssueCertificate(harness_.Csr(Role::kDevice, "two")),
              StatusIs(StatusCode::kPermissionDenied));

  v1::RevokeRequest request;
  request.set_serial(ParsePemChain(*chain)->front().serial());
  const auto number = alice->Revoke(request);
  ASSERT_THAT(number, IsOk());
  const auto message = alice->GetRevocationList();
  ASSERT_THAT(message, IsOk());
  const auto list = RevocationList::Parse(*message, pki().root().certificate(),
                                          absl::Now(), *number);
  ASSERT_THAT(list, IsOk());
  EXPECT_THAT(list->Check(ParsePemChain(*chain)->front()),
              StatusIs(StatusCode::kPermissionDenied));
  // On the connection that is still open.
  EXPECT_THAT(
      device->IssueCertificate(CreateCertificateSigningRequest(key, one)),
      StatusIs(StatusCode::kPermissionDenied, HasSubstr("revoked")));
  EXPECT_THAT(device->GetRevocationList(),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("revoked")));
  const auto issued = alice->ListIssued({});
  ASSERT_THAT(issued, IsOk());
  ASSERT_EQ(issued->entries_size(), 2);
  EXPECT_TRUE(issued->entries(0).revoked());
  EXPECT_FALSE(issued->entries(1).revoked());
}

TEST_F(RegistrarGrpcTest, OthersDoNotAdminister) {
  v1::RevokeRequest request;
  request.set_identity("mledge://device/one");
  for (const Role role :
       {Role::kDevice, Role::kCoordinator, Role::kEvaluator}) {
    const auto client = ClientOf(role, "main");
    const auto denied = StatusIs(StatusCode::kPermissionDenied);
    EXPECT_THAT(client->Revoke(request), denied);
    EXPECT_THAT(client->ListIssued({}), denied);
    EXPECT_THAT(client->CreateEnrollmentToken({Role::kDevice, "x"},
                                              absl::Now() + absl::Hours(1)),
                denied);
    EXPECT_THAT(client->IssueCertificate(harness_.Csr(Role::kDevice, "x")),
                denied);
  }
}

TEST_F(RegistrarGrpcTest, MalformedRequestsAreRefused) {
  const auto alice = ClientOf(Role::kOperator, "alice");
  const auto bad = StatusIs(StatusCode::kInvalidArgument);
  EXPECT_THAT(alice->Revoke(v1::RevokeRequest()), bad);
  v1::RevokeRequest revoke;
  revoke.set_identity("device/one");
  EXPECT_THAT(alice->Revoke(revoke), bad);
  v1::ListIssuedRequest list;
  list.set_skip(-1);
  EXPECT_THAT(alice->ListIssued(list), bad);
  list.set_skip(0);
  list.set_identity("x");
  EXPECT_THAT(alice->ListIssued(list), bad);
  EXPECT_THAT(alice->IssueCertificate("no request"), bad);
  EXPECT_THAT(
      alice->CreateEnrollmentToken({Role::kDevice, "x"}, absl::UnixEpoch()),
      bad);
  // A hash of the wrong size, by hand: the client makes none.
  const auto coordinator = pki().Issue(Role::kCoordinator, "main");
  const auto key = coordinator.private_key_pem.bytes(RevealSecret());
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = pki().root_pem();
  tls.pem_cert_chain = coordinator.certificate_chain_pem;
  tls.pem_private_key.assign(reinterpret_cast<const char*>(key.data()),
                             key.size());
  const auto stub = v1::RegistrarService::NewStub(
      grpc::CreateChannel(server_->address(), grpc::SslCredentials(tls)));
  grpc::ClientContext context;
  v1::WitnessDirectoryRequest request;
  request.set_task_sha256("short");
  v1::WitnessDirectoryResponse response;
  EXPECT_EQ(stub->WitnessDirectory(&context, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(RegistrarGrpcTest, TokenEnrollsADeviceThatKnowsTheFingerprintOnly) {
  const auto token = ClientOf(Role::kOperator, "alice")
                         ->CreateEnrollmentToken({Role::kDevice, "new"},
                                                 absl::Now() + absl::Hours(1));
  ASSERT_THAT(token, IsOkAndHolds(SizeIs(43)));
  // The wrong registrar does not even see the token.
  EnrollOptions wrong_root = Enrollment(*token);
  wrong_root.root_fingerprint = DigestOf("another root");
  const PrivateKey key = PrivateKey::Generate();
  EXPECT_THAT(EnrollWithToken(wrong_root, key),
              StatusIs(StatusCode::kUnauthenticated, HasSubstr("fingerprint")));
  const auto enrolled = EnrollWithToken(Enrollment(*token), key);
  ASSERT_THAT(enrolled, IsOk());
  EXPECT_EQ(enrolled->root_pem, pki().root_pem());
  TlsIdentity identity;
  identity.certificate_chain_pem = enrolled->certificate_chain_pem;
  identity.private_key_pem = key.ToPem();
  identity.root_pem = enrolled->root_pem;
  EXPECT_THAT(ClientOf(identity)->GetRevocationList(), IsOk());
  EXPECT_THAT(EnrollWithToken(Enrollment(*token), key),
              StatusIs(StatusCode::kPermissionDenied));
}

TEST_F(RegistrarGrpcTest, EnrollmentPortServesNothingElse) {
  const auto client = RegistrarClient::Create(
      {.address = server_->enroll_address()},
      pki().Issue(Role::kOperator, "alice"), harness_.public_key());
  ASSERT_THAT(client, IsOk());
  EXPECT_THAT((*client)->GetRevocationList(),
              StatusIs(StatusCode::kUnimplemented));
}

TEST_F(RegistrarGrpcTest, EnrollmentIsNotServedWithoutItsPort) {
  EnrollOptions options = Enrollment("token");
  options.address = server_->address();
  // There, a client certificate is demanded.
  EXPECT_THAT(EnrollWithToken(options, PrivateKey::Generate()),
              StatusIs(StatusCode::kUnavailable));
}

TEST_F(RegistrarGrpcTest, PlaintextGetsNoConnection) {
  for (const std::string& address :
       {server_->address(), server_->enroll_address()}) {
    const auto stub = v1::RegistrarService::NewStub(
        grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    v1::GetRevocationListResponse response;
    EXPECT_EQ(stub->GetRevocationList(&context, v1::GetRevocationListRequest(),
                                      &response)
                  .error_code(),
              grpc::StatusCode::UNAVAILABLE);
  }
}

TEST_F(RegistrarGrpcTest, ClientWithoutACertificateGetsNoConnection) {
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = pki().root_pem();
  const auto stub = v1::RegistrarService::NewStub(
      grpc::CreateChannel(server_->address(), grpc::SslCredentials(tls)));
  grpc::ClientContext context;
  v1::GetRevocationListResponse response;
  EXPECT_EQ(stub->GetRevocationList(&context, v1::GetRevocationListRequest(),
                                    &response)
                .error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(RegistrarGrpcTest, ForeignAndExpiredCertificatesGetNoConnection) {
  const TestPki foreign(absl::Now(), "foreign");
  TlsIdentity intruder = foreign.Issue(Role::kOperator, "alice");
  intruder.root_pem = pki().root_pem();
  EXPECT_THAT(ClientOf(intruder)->GetRevocationList(),
              StatusIs(StatusCode::kUnavailable));
  EXPECT_THAT(ClientOf(pki().Issue(Role::kOperator, "alice", absl::Hours(1)))
                  ->GetRevocationList(),
              StatusIs(StatusCode::kUnavailable));
}

TEST_F(RegistrarGrpcTest, Tls12IsRefusedAndTls13IsSpoken) {
  if (system("openssl version >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "there is no openssl command";
  }
  EXPECT_THAT(SClient("-tls1_3"), HasSubstr("New, TLSv1.3, Cipher is"));
  const std::string old = SClient("-tls1_2");
  EXPECT_THAT(old, HasSubstr("Cipher is (NONE)"));
  EXPECT_THAT(old, Not(HasSubstr("New, TLSv1.2, Cipher is")));
}

TEST_F(RegistrarGrpcTest, ClientDoesNotBelieveAnotherWitnessKey) {
  SystemSecretRandom random;
  const auto client = RegistrarClient::Create(
      {.address = server_->address()}, pki().Issue(Role::kCoordinator, "main"),
      WitnessKey::Generate(random).public_key());
  ASSERT_THAT(client, IsOk());
  EXPECT_THAT(Ask(**client, 1, "directory"),
              StatusIs(StatusCode::kDataLoss, HasSubstr("witness.pub")));
}

TEST_F(RegistrarGrpcTest, NobodyThereIsSaidSo) {
  const std::string address = server_->address();
  server_.reset();
  const auto client = RegistrarClient::Create(
      {.address = address, .timeout = absl::Seconds(5)},
      pki().Issue(Role::kCoordinator, "main"), harness_.public_key());
  ASSERT_THAT(client, IsOk());
  EXPECT_THAT(Ask(**client, 1, "directory"),
              StatusIs(StatusCode::kUnavailable, HasSubstr(address)));
}

TEST_F(RegistrarGrpcTest, BadAddressesAreRefused) {
  for (const char* const bad : {"", "host", ":7444", "host:"}) {
    EXPECT_THAT(RegistrarClient::Create({.address = bad},
                                        pki().Issue(Role::kDevice, "d")),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("host:port")));
  }
  EXPECT_THAT(RegistrarServer::Start(
                  {.listen = "nowhere",
                   .certificate_file = directory_.File("tls/server.pem"),
                   .private_key_file = directory_.File("tls/server.key"),
                   .root_file = directory_.File("tls/root.pem")},
                  {.registrar = registrar_.get(), .clock = &clock_}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("listen")));
}

class CheckRegistrarCertificateTest : public ::testing::Test {
 protected:
  absl::Status Check(const TestPki& pki, Role role, const std::string& name) {
    IssueOptions options{.identity = {role, "x"}, .now = pki.now()};
    if (role == Role::kCoordinator || role == Role::kRegistrarServer) {
      options.hosts = {"localhost"};
    }
    const Certificate leaf =
        pki.registrar()
            .Issue(PrivateKey::Generate().public_key(), options)
            .value();
    return CheckRegistrarCertificate(
        leaf.ToPem() + pki.registrar().certificate().ToPem(),
        {.root = pki_.root().certificate(), .name = name}, pki_.now());
  }
  const TestPki pki_;
};

TEST_F(CheckRegistrarCertificateTest, OnlyTheRegistrarsServerIsAccepted) {
  EXPECT_THAT(Check(pki_, Role::kRegistrarServer, "localhost"), IsOk());
  EXPECT_THAT(Check(pki_, Role::kRegistrarServer, "LOCALHOST"), IsOk());
  const auto refused = StatusIs(StatusCode::kUnauthenticated);
  for (const Role role : {Role::kCoordinator, Role::kDevice, Role::kOperator}) {
    EXPECT_THAT(Check(pki_, role, "localhost"), refused) << ToString(role);
  }
  EXPECT_THAT(Check(pki_, Role::kRegistrarServer, "example.org"), refused);
  EXPECT_THAT(Check(TestPki(), Role::kRegistrarServer, "localhost"), refused);
  EXPECT_THAT(CheckRegistrarCertificate(
                  "nothing", {.root = pki_.root().certificate()}, pki_.now()),
              refused);
}

}  // namespace
}  // namespace mledge
