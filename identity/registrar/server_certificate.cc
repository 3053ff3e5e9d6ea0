#include "mledge/identity/registrar/server_certificate.h"

#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/private_key.h"

namespace mledge {
namespace {

absl::StatusOr<PrivateKey> LoadOrMakeKey(const std::string& path) {
  absl::StatusOr<PrivateKey> key = LoadPrivateKey(path);
  if (key.ok() || !absl::IsNotFound(key.status())) return key;
  key = PrivateKey::Generate();
  MLEDGE_RETURN_IF_ERROR(WritePrivateKey(*key, path));
  return key;
}

}  // namespace

absl::StatusOr<ServerCertificateFiles> WriteServerCertificate(
    const ServerCertificateOptions& options,
    const CertificateAuthority& registrar, const Certificate& root) {
  MLEDGE_RETURN_IF_ERROR(EnsureWritableDirectory(options.directory));
  const std::string base = StrCat(options.directory, "/");
  ServerCertificateFiles files{.certificate = base + "server.pem",
                               .private_key = base + "server.key",
                               .root = base + "root.pem"};
  MLEDGE_ASSIGN_OR_RETURN(const PrivateKey key,
                          LoadOrMakeKey(files.private_key));
  MLEDGE_ASSIGN_OR_RETURN(Identity identity,
                          registrar.certificate().identity());
  identity.role = Role::kRegistrarServer;
  MLEDGE_ASSIGN_OR_RETURN(
      const Certificate certificate,
      registrar.Issue(
          key.public_key(),
          {.identity = identity, .hosts = options.hosts, .now = options.now}));
  const std::string root_pem = root.ToPem();
  MLEDGE_RETURN_IF_ERROR(WriteFileAtomically(files.root, root_pem));
  MLEDGE_RETURN_IF_ERROR(WriteFileAtomically(
      files.certificate,
      StrCat(certificate.ToPem(), registrar.certificate().ToPem(), root_pem)));
  files.not_after = certificate.not_after();
  return files;
}

}  // namespace mledge
