#include "mledge/identity/grpc/registrar_channel.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <utility>
#include <vector>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/tls_policy.h"

namespace mledge {
namespace {

using grpc::experimental::IdentityKeyCertPair;
using grpc::experimental::StaticDataCertificateProvider;

// A revocation list of hundreds of thousands of entries.
constexpr int kMaximumMessage = 16 << 20;

// The host of "host:port", "[::1]:port".
absl::StatusOr<std::string> HostOf(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == address.size()) {
    return absl::InvalidArgumentError(StrCat(
        "'", address, "' is no address of a registrar; write host:port"));
  }
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  return host;
}

}  // namespace

absl::Status RegistrarChannel::Explain(const grpc::Status& status) const {
  if (status.ok()) return absl::OkStatus();
  const std::string where = StrCat("registrar ", address, ": ");
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  if (code == absl::StatusCode::kUnavailable) {
    if (const absl::Status rejected = rejection->Get(); !rejected.ok()) {
      return absl::UnauthenticatedError(StrCat(where, rejected.message()));
    }
    return absl::UnavailableError(
        StrCat(where, "cannot be reached: ", status.error_message(),
               ". Is it running there, and do both sides' certificates come "
               "from the same root and hold?"));
  }
  if (code == absl::StatusCode::kDeadlineExceeded) {
    return absl::DeadlineExceededError(
        StrCat(where, "no answer in time: ", status.error_message()));
  }
  return absl::Status(code, StrCat(where, status.error_message()));
}

absl::StatusOr<RegistrarChannel> ConnectToRegistrar(
    const std::string& address, const std::string& name,
    RegistrarExpectation expected, const TlsIdentity* identity) {
  MLEDGE_ASSIGN_OR_RETURN(expected.name, HostOf(address));
  if (!name.empty()) expected.name = name;
  RequireTls13();
  grpc::experimental::TlsChannelCredentialsOptions tls;
  if (identity != nullptr) {
    const std::span<const uint8_t> key =
        identity->private_key_pem.bytes(RevealSecret());
    // gRPC keeps its own copy of the key for as long as the channel lives.
    tls.set_certificate_provider(
        std::make_shared<StaticDataCertificateProvider>(
            identity->root_pem,
            std::vector<IdentityKeyCertPair>{
                {.private_key = std::string(
                     reinterpret_cast<const char*>(key.data()), key.size()),
                 .certificate_chain = identity->certificate_chain_pem}}));
    tls.watch_root_certs();
    tls.watch_identity_key_cert_pairs();
  }
  // The verifier checks the whole chain and the name, and says why it refuses;
  // gRPC's own checks would refuse without a reason.
  tls.set_verify_server_certs(false);
  tls.set_check_call_host(false);
  RegistrarChannel result;
  result.address = address;
  result.rejection = std::make_shared<RegistrarRejection>();
  tls.set_certificate_verifier(
      grpc::experimental::ExternalCertificateVerifier::Create<
          RegistrarVerifier>(std::move(expected), result.rejection));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaximumMessage);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  result.channel = grpc::CreateCustomChannel(
      address, grpc::experimental::TlsCredentials(tls), arguments);
  return result;
}

}  // namespace mledge
