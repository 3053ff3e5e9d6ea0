#include "mledge/identity/identity.h"

#include "absl/status/status.h"
#include "mledge/core/ids.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr std::string_view kScheme = "mledge://";

}  // namespace

std::string_view ToString(Role role) {
  switch (role) {
    case Role::kRoot:
      return "root";
    case Role::kRegistrar:
      return "registrar";
    case Role::kRegistrarServer:
      return "registrar-server";
    case Role::kCoordinator:
      return "coordinator";
    case Role::kOperator:
      return "operator";
    case Role::kModelSigner:
      return "model-signer";
    case Role::kEvaluator:
      return "evaluator";
    case Role::kDevice:
      return "device";
  }
  return "unknown";
}

absl::StatusOr<Role> ParseRole(std::string_view name) {
  std::string known;
  for (const Role role : kAllRoles) {
    if (name == ToString(role)) return role;
    StrAppend(&known, known.empty() ? "" : ", ", ToString(role));
  }
  return absl::InvalidArgumentError(
      StrCat("unknown role \"", name, "\"; there are ", known));
}

std::string Identity::ToUri() const {
  return StrCat(kScheme, mledge::ToString(role), "/", id);
}

std::string Identity::ToString() const {
  return StrCat(mledge::ToString(role), " ", id);
}

absl::StatusOr<Identity> Identity::FromUri(std::string_view uri) {
  const auto error = [uri](std::string_view why) {
    return absl::InvalidArgumentError(
        StrCat("\"", uri, "\" is no mledge://<role>/<id> identity: ", why));
  };
  if (!uri.starts_with(kScheme)) {
    return error("it does not start with mledge://");
  }
  const std::string_view rest = uri.substr(kScheme.size());
  const size_t slash = rest.find('/');
  if (slash == std::string_view::npos) return error("the id is missing");
  const absl::StatusOr<Role> role = ParseRole(rest.substr(0, slash));
  if (!role.ok()) return error(ToStdView(role.status().message()));
  Identity identity{*role, std::string(rest.substr(slash + 1))};
  const absl::Status id_status = ValidateId("id", identity.id);
  if (!id_status.ok()) return error(ToStdView(id_status.message()));
  return identity;
}

}  // namespace mledge
