#include "mledge/identity/grpc/registrar_channel.h"

#include <grpcpp/grpcpp.h>

#include <string_view>
#include <utility>

#include "absl/time/clock.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

// A revocation list of hundreds of thousands of entries.
constexpr int kMaximumMessage = 16 << 20;

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
  MLEDGE_ASSIGN_OR_RETURN(expected.name, HostOf("registrar", address));
  if (!name.empty()) expected.name = name;
  RegistrarChannel result;
  result.address = address;
  result.rejection = std::make_shared<HandshakeFailure>();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaximumMessage);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  result.channel = grpc::CreateCustomChannel(
      address,
      CheckedChannelCredentials(
          identity,
          [expected = std::move(expected)](std::string_view chain_pem) {
            return CheckRegistrarCertificate(chain_pem, expected, absl::Now());
          },
          result.rejection),
      arguments);
  return result;
}

}  // namespace mledge
