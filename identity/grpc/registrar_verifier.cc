#include "mledge/identity/grpc/registrar_verifier.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "mledge/core/strings.h"

namespace mledge {

absl::Status CheckRegistrarCertificate(std::string_view chain_pem,
                                       const RegistrarExpectation& expected,
                                       absl::Time now) {
  absl::StatusOr<std::vector<Certificate>> chain = ParsePemChain(chain_pem);
  if (!chain.ok()) {
    return absl::UnauthenticatedError(
        StrCat("the registrar's certificate cannot be read: ",
               chain.status().message()));
  }
  std::optional<Certificate> root = expected.root;
  if (!root.has_value()) {
    const absl::StatusOr<Certificate> sent = ParseRoot(chain->back().ToPem());
    if (!sent.ok() || !expected.root_fingerprint.has_value() ||
        sent->fingerprint() != *expected.root_fingerprint) {
      return absl::UnauthenticatedError(
          "the peer does not show the root whose fingerprint came with the "
          "token: it is not the registrar that the token is for, or the "
          "fingerprint was mistyped");
    }
    root = *sent;
  }
  const absl::StatusOr<Identity> identity = VerifyChain(*chain, *root, now);
  if (!identity.ok()) {
    return absl::UnauthenticatedError(
        StrCat("the registrar's certificate is not accepted: ",
               identity.status().message()));
  }
  if (identity->role != Role::kRegistrarServer) {
    return absl::UnauthenticatedError(
        StrCat("the peer is ", identity->ToString(),
               ", not a registrar: look at the registrar's address in the "
               "configuration"));
  }
  const std::vector<std::string> hosts = chain->front().hosts();
  if (std::none_of(hosts.begin(), hosts.end(), [&](const std::string& host) {
        return absl::EqualsIgnoreCase(host, expected.name);
      })) {
    return absl::UnauthenticatedError(
        StrCat("the certificate of ", identity->ToString(), " is for ",
               absl::StrJoin(hosts, ", "), ", not for '", expected.name,
               "': add the name to `hosts` in the registrar's configuration, "
               "or set the name that is expected"));
  }
  return absl::OkStatus();
}

}  // namespace mledge
