#include "mledge/client/grpc/coordinator_verifier.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

// "*.example.org" stands for exactly one more label.
bool Matches(const std::string& pattern, const std::string& name) {
  if (absl::EqualsIgnoreCase(pattern, name)) return true;
  if (!absl::StartsWith(pattern, "*.")) return false;
  const size_t dot = name.find('.');
  return dot != std::string::npos && dot > 0 &&
         absl::EqualsIgnoreCase(pattern.substr(1), name.substr(dot));
}

}  // namespace

absl::Status CheckCoordinatorCertificate(std::string_view chain_pem,
                                         const Certificate& root,
                                         std::string_view server_name,
                                         absl::Time now) {
  const absl::StatusOr<std::vector<Certificate>> chain =
      ParsePemChain(chain_pem);
  if (!chain.ok()) {
    return absl::UnauthenticatedError(
        StrCat("the coordinator's certificate cannot be read: ",
               chain.status().message()));
  }
  const absl::StatusOr<Identity> identity = VerifyChain(*chain, root, now);
  if (!identity.ok()) {
    return absl::UnauthenticatedError(
        StrCat("the coordinator's certificate is not accepted: ",
               identity.status().message()));
  }
  if (identity->role != Role::kCoordinator) {
    return absl::UnauthenticatedError(
        StrCat("the peer is ", identity->ToString(),
               ", not a coordinator: look at the address that this device is "
               "configured with"));
  }
  const std::vector<std::string> hosts = chain->front().hosts();
  const std::string name(server_name);
  if (std::none_of(hosts.begin(), hosts.end(), [&](const std::string& host) {
        return Matches(host, name);
      })) {
    return absl::UnauthenticatedError(
        StrCat("the certificate of ", identity->ToString(), " is for ",
               absl::StrJoin(hosts, ", "), ", not for '", name,
               "': set coordinator_name to one of these, or issue a "
               "certificate for this name"));
  }
  return absl::OkStatus();
}

CoordinatorVerifier::CoordinatorVerifier(
    Certificate root, std::string server_name,
    std::shared_ptr<HandshakeFailure> failure)
    : root_(std::move(root)),
      server_name_(std::move(server_name)),
      failure_(std::move(failure)) {}

bool CoordinatorVerifier::Verify(
    grpc::experimental::TlsCustomVerificationCheckRequest* request,
    std::function<void(grpc::Status)>, grpc::Status* sync_status) {
  const grpc::string_ref chain = request->peer_cert_full_chain();
  const absl::Status status = CheckCoordinatorCertificate(
      {chain.data(), chain.size()}, root_, server_name_, absl::Now());
  failure_->Set(status);
  *sync_status = status.ok() ? grpc::Status::OK
                             : grpc::Status(grpc::StatusCode::UNAUTHENTICATED,
                                            std::string(status.message()));
  return true;  // decided here and now
}

}  // namespace mledge
