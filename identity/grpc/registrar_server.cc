#include "mledge/identity/grpc/registrar_server.h"

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <chrono>
#include <utility>

#include "mledge/core/executor.h"
#include "mledge/core/file.h"
#include "mledge/core/listen_address.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/grpc/registrar_service.h"
#include "mledge/identity/tls_policy.h"

namespace mledge {
namespace {

constexpr unsigned kRefreshSeconds = 10;
constexpr int kBlockingThreads = 4;
// Requests are small; a signing request is the longest.
constexpr int kMaximumRequest = 64 << 10;

std::shared_ptr<grpc::ServerCredentials> Credentials(
    const RegistrarServer::Options& options, bool mutual) {
  RequireTls13();
  grpc::experimental::TlsServerCredentialsOptions tls(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          options.private_key_file, options.certificate_file, options.root_file,
          kRefreshSeconds));
  tls.watch_root_certs();
  tls.watch_identity_key_cert_pairs();
  tls.set_cert_request_type(
      mutual ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
             : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  return grpc::experimental::TlsServerCredentials(tls);
}

// One port with one service.
class Port {
 public:
  absl::Status Listen(std::string_view field, const std::string& listen,
                      std::shared_ptr<grpc::ServerCredentials> credentials,
                      grpc::Service* service) {
    MLEDGE_ASSIGN_OR_RETURN(address_, ListenAddress::Parse(field, listen));
    grpc::ServerBuilder builder;
    int taken = 0;
    builder.AddListeningPort(listen, std::move(credentials), &taken);
    // A second server on the same port is a mistake, not load balancing.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.SetMaxReceiveMessageSize(kMaximumRequest);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
    builder.AddChannelArgument(
        GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
    builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || taken == 0) {
      server_.reset();
      return WhyNotListening(field, address_);
    }
    address_.port = taken;
    return absl::OkStatus();
  }

  std::string address() const { return address_.ToString(); }
  void Shutdown(absl::Duration grace) {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now() +
                      absl::ToChronoMilliseconds(grace));
  }

 private:
  ListenAddress address_;
  std::unique_ptr<grpc::Server> server_;
};

class GrpcRegistrarServer final : public RegistrarServer {
 public:
  GrpcRegistrarServer(const Dependencies& dependencies, std::string root_pem)
      : blocking_(kBlockingThreads, "calls"),
        environment_({.registrar = dependencies.registrar,
                      .executor = &blocking_,
                      .clock = dependencies.clock,
                      .root_pem = std::move(root_pem)}),
        service_(&environment_),
        enrollment_(&environment_) {}

  ~GrpcRegistrarServer() override { Shutdown(absl::ZeroDuration()); }

  absl::Status Listen(const Options& options) {
    MLEDGE_RETURN_IF_ERROR(mutual_.Listen(
        "listen", options.listen, Credentials(options, true), &service_));
    if (options.enroll_listen.empty()) return absl::OkStatus();
    return enroll_.Listen("enroll_listen", options.enroll_listen,
                          Credentials(options, false), &enrollment_);
  }

  std::string address() const override { return mutual_.address(); }
  std::string enroll_address() const override { return enroll_.address(); }
  void Shutdown(absl::Duration grace) override {
    enroll_.Shutdown(grace);
    mutual_.Shutdown(grace);
  }

 private:
  // gRPC waits for its calls when a server dies, and calls wait for this pool:
  // the servers are declared last and die first.
  ThreadPool blocking_;
  const RegistrarEnvironment environment_;
  RegistrarServiceAdapter service_;
  EnrollmentServiceAdapter enrollment_;
  Port mutual_;
  Port enroll_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RegistrarServer>> RegistrarServer::Start(
    Options options, Dependencies dependencies) {
  MLEDGE_ASSIGN_OR_RETURN(std::string root_pem, ReadFile(options.root_file));
  auto server =
      std::make_unique<GrpcRegistrarServer>(dependencies, std::move(root_pem));
  MLEDGE_RETURN_IF_ERROR(server->Listen(options));
  return server;
}

}  // namespace mledge
