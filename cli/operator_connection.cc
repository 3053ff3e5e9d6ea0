#include "mledge/cli/operator_connection.h"

#include <array>

#include "absl/time/clock.h"
#include "mledge/core/status_macros.h"

namespace mledge {

void AddConnectionOptions(CLI::App* verb, OperatorConnection* connection) {
  verb->add_option("--coordinator", connection->coordinator,
                   "The coordinator's HOST:PORT")
      ->envname("MLEDGE_COORDINATOR")
      ->required();
  verb->add_option("--coordinator-name", connection->coordinator_name,
                   "Name in the coordinator's certificate (default: HOST)")
      ->envname("MLEDGE_COORDINATOR_NAME");
  verb->add_option("--identity", connection->identity_directory,
                   "The operator's folder, as `mledge pki issue` made it")
      ->envname("MLEDGE_IDENTITY")
      ->required();
}

absl::StatusOr<TlsIdentity> LoadOperator(const OperatorConnection& connection) {
  constexpr std::array<Role, 1> kRoles = {Role::kOperator};
  return LoadTlsIdentity(IdentityFilesIn(connection.identity_directory), kRoles,
                         absl::Now());
}

absl::StatusOr<std::unique_ptr<AdminClient>> Connect(
    const OperatorConnection& connection) {
  MLEDGE_ASSIGN_OR_RETURN(const TlsIdentity identity, LoadOperator(connection));
  return AdminClient::Create({.coordinator = connection.coordinator,
                              .coordinator_name = connection.coordinator_name},
                             identity);
}

absl::StatusOr<Signer> LoadModelSigner(const std::string& directory) {
  constexpr std::array<Role, 1> kRoles = {Role::kModelSigner};
  MLEDGE_ASSIGN_OR_RETURN(
      const TlsIdentity identity,
      LoadTlsIdentity(IdentityFilesIn(directory), kRoles, absl::Now()));
  return Signer::Create(identity);
}

}  // namespace mledge
