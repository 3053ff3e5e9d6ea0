#ifndef MLEDGE_IDENTITY_IDENTITY_H_
#define MLEDGE_IDENTITY_IDENTITY_H_

#include <array>
#include <ostream>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

// Who somebody is: a role and an id, as a certificate's one SAN URI says it,
// "mledge://<role>/<id>". Everything that decides what a peer may do compares
// these values and never a subject name. A value.

namespace mledge {

enum class Role {
  kRoot,             // offline; signs the registrar's certificate only
  kRegistrar,        // issues all other certificates
  kRegistrarServer,  // the registrar's own end of connections; issues nothing
  kCoordinator,      // runs rounds; signs model versions
  kOperator,         // submits tasks and signs them
  kModelSigner,      // signs model packages, offline
  kEvaluator,        // measures models on a test set; never trains
  kDevice,
};

inline constexpr std::array<Role, 8> kAllRoles = {
    Role::kRoot,        Role::kRegistrar, Role::kRegistrarServer,
    Role::kCoordinator, Role::kOperator,  Role::kModelSigner,
    Role::kEvaluator,   Role::kDevice};

// "root", "registrar", "registrar-server", "coordinator", "operator",
// "model-signer", "evaluator", "device".
std::string_view ToString(Role role);

// The reverse; INVALID_ARGUMENT lists the roles there are.
absl::StatusOr<Role> ParseRole(std::string_view name);

struct Identity {
  Role role = Role::kDevice;
  std::string id;  // as ValidateId (core/ids.h) demands

  bool operator==(const Identity&) const = default;

  // "mledge://device/device-7".
  std::string ToUri() const;
  // "device device-7": for messages to people.
  std::string ToString() const;
  // Strict: the exact spelling that ToUri produces, no escapes, no second
  // slash, no query. INVALID_ARGUMENT says what is wrong.
  static absl::StatusOr<Identity> FromUri(std::string_view uri);

  friend std::ostream& operator<<(std::ostream& os, const Identity& identity) {
    return os << identity.ToString();
  }
};

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_IDENTITY_H_
