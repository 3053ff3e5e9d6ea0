#include "mledge/client/grpc/coordinator_verifier.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
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

}  // namespace mledge
