#ifndef MLEDGE_CLI_OPERATOR_CONNECTION_H_
#define MLEDGE_CLI_OPERATOR_CONNECTION_H_

#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "absl/status/statusor.h"
#include "mledge/coordinator/grpc/admin_client.h"
#include "mledge/identity/signing.h"
#include "mledge/identity/tls_identity.h"

// What every verb that talks to a coordinator needs: where it is, and who asks.

namespace mledge {

struct OperatorConnection {
  std::string coordinator;
  std::string coordinator_name;
  // Folder with certificate.pem, private_key.pem and root.pem.
  std::string identity_directory;
};

// --coordinator, --coordinator-name and --identity, or MLEDGE_COORDINATOR,
// MLEDGE_COORDINATOR_NAME and MLEDGE_IDENTITY.
void AddConnectionOptions(CLI::App* verb, OperatorConnection* connection);

// The operator's identity. PERMISSION_DENIED: another role.
absl::StatusOr<TlsIdentity> LoadOperator(const OperatorConnection& connection);
absl::StatusOr<std::unique_ptr<AdminClient>> Connect(
    const OperatorConnection& connection);

// A model-signer's folder.
absl::StatusOr<Signer> LoadModelSigner(const std::string& directory);

}  // namespace mledge

#endif  // MLEDGE_CLI_OPERATOR_CONNECTION_H_
