#include "mledge/coordinator/grpc/server.h"

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>

#include <array>
#include <chrono>
#include <optional>
#include <utility>

#include "mledge/coordinator/grpc/admin_service.h"
#include "mledge/coordinator/grpc/credentials.h"
#include "mledge/coordinator/grpc/device_service.h"
#include "mledge/coordinator/grpc/service_environment.h"
#include "mledge/core/executor.h"
#include "mledge/core/listen_address.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/tls_identity.h"

namespace mledge {
namespace {

class GrpcCoordinatorServer final : public CoordinatorServer {
 public:
  GrpcCoordinatorServer(const Options& options,
                        const Dependencies& dependencies,
                        SignatureVerifier task_verifier,
                        SignatureVerifier package_verifier,
                        SignatureVerifier adoption_verifier)
      : task_verifier_(std::move(task_verifier)),
        package_verifier_(std::move(package_verifier)),
        adoption_verifier_(std::move(adoption_verifier)),
        device_calls_(options.maximum_calls_of_a_device),
        blocking_(options.blocking_threads, "calls"),
        environment_({.coordinator = dependencies.coordinator,
                      .executor = &blocking_,
                      .clock = dependencies.clock,
                      .device_calls = &device_calls_,
                      .task_verifier = &task_verifier_,
                      .package_verifier = &package_verifier_,
                      .adoption_verifier = &adoption_verifier_,
                      .maximum_upload_bytes = options.maximum_upload_bytes,
                      .longest_check_in = options.longest_check_in}),
        device_service_(&environment_),
        admin_service_(&environment_) {}

  ~GrpcCoordinatorServer() override { Shutdown(absl::ZeroDuration()); }

  absl::Status Listen(const Options& options) {
    MLEDGE_ASSIGN_OR_RETURN(address_,
                            ListenAddress::Parse("listen", options.listen));
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(
        options.listen, MutualTlsServerCredentials(options.identity), &port);
    // A second server on the same port is a mistake, not load balancing.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.SetMaxReceiveMessageSize(kMaximumMessage);
    // What gRPC buffers for an upload is memory times devices: a fixed window,
    // not one that grows with the line. Enough for 80 Mbit/s at 100 ms.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1 << 20);
    // What one device may have is counted over its connections
    // (device_calls.h); this keeps one connection from queueing more.
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 64);
    // Connections cost a file descriptor each: one that shows no certificate,
    // or on which nothing happens, is closed. A device connects again by itself
    // when it calls.
    builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 20'000);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 300'000);
    // Devices vanish without a word: ask after them, and let them ask.
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
    builder.AddChannelArgument(
        GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.RegisterService(&device_service_);
    builder.RegisterService(&admin_service_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port == 0) {
      server_.reset();
      return WhyNotListening("listen", address_);
    }
    address_.port = port;
    return absl::OkStatus();
  }

  int port() const override { return address_.port; }
  std::string address() const override { return address_.ToString(); }

  void Shutdown(absl::Duration grace) override {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now() +
                      absl::ToChronoMilliseconds(grace));
  }

 private:
  const SignatureVerifier task_verifier_;
  const SignatureVerifier package_verifier_;
  const SignatureVerifier adoption_verifier_;
  DeviceCalls device_calls_;
  // gRPC waits for its calls when the server dies, and calls wait for this
  // pool: the server is declared last and dies first.
  ThreadPool blocking_;
  const ServiceEnvironment environment_;
  DeviceServiceAdapter device_service_;
  AdminServiceAdapter admin_service_;
  ListenAddress address_;
  std::unique_ptr<grpc::Server> server_;
};

absl::StatusOr<SignatureVerifier> TrustOnly(const std::string& root_pem,
                                            std::string_view context, Role role,
                                            const std::vector<std::string>& ids,
                                            std::string_view field) {
  absl::StatusOr<SignatureVerifier> verifier = SignatureVerifier::Create(
      root_pem,
      {.context = std::string(context), .role = role, .trusted_ids = ids});
  if (!verifier.ok()) return Annotate(verifier.status(), field);
  return verifier;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CoordinatorServer>> CoordinatorServer::Start(
    Options options, Dependencies dependencies) {
  constexpr std::array<Role, 1> kRoles = {Role::kCoordinator};
  MLEDGE_ASSIGN_OR_RETURN(
      const TlsIdentity identity,
      LoadTlsIdentity(options.identity, kRoles, dependencies.clock->TimeNow()));
  MLEDGE_ASSIGN_OR_RETURN(
      SignatureVerifier task_verifier,
      TrustOnly(identity.root_pem, kTaskContext, Role::kOperator,
                options.trusted_operators, "trusted_operators"));
  MLEDGE_ASSIGN_OR_RETURN(
      SignatureVerifier package_verifier,
      TrustOnly(identity.root_pem, kPackageContext, Role::kModelSigner,
                options.trusted_model_signers, "trusted_model_signers"));
  MLEDGE_ASSIGN_OR_RETURN(
      SignatureVerifier adoption_verifier,
      TrustOnly(identity.root_pem, kLedgerAdoptionContext, Role::kOperator,
                options.trusted_operators, "trusted_operators"));
  auto server = std::make_unique<GrpcCoordinatorServer>(
      options, dependencies, std::move(task_verifier),
      std::move(package_verifier), std::move(adoption_verifier));
  MLEDGE_RETURN_IF_ERROR(server->Listen(options));
  return server;
}

}  // namespace mledge
