#include "mledge/identity/tls_identity.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/private_key.h"

namespace mledge {
namespace {

absl::StatusOr<std::string> ReadPem(std::string_view field,
                                    const std::string& path) {
  if (path.empty()) {
    return absl::InvalidArgumentError(
        StrCat("identity.", field, " is not set; name the file there"));
  }
  absl::StatusOr<std::string> pem = ReadFile(path, kMaximumPemBytes);
  if (!pem.ok()) {
    return Annotate(pem.status(), StrCat("identity.", field));
  }
  return pem;
}

absl::Status CheckRole(const Identity& identity,
                       std::span<const Role> allowed_roles) {
  if (allowed_roles.empty() ||
      std::find(allowed_roles.begin(), allowed_roles.end(), identity.role) !=
          allowed_roles.end()) {
    return absl::OkStatus();
  }
  std::string allowed;
  for (const Role role : allowed_roles) {
    StrAppend(&allowed, allowed.empty() ? "" : " or ", ToString(role));
  }
  return absl::PermissionDeniedError(
      StrCat("this is the certificate of ", identity.ToString(),
             "; one for the role ", allowed, " is needed here"));
}

}  // namespace

v1::IdentityFiles IdentityFilesIn(std::string_view directory) {
  v1::IdentityFiles files;
  files.set_certificate(StrCat(directory, "/certificate.pem"));
  files.set_private_key(StrCat(directory, "/private_key.pem"));
  files.set_root(StrCat(directory, "/root.pem"));
  return files;
}

absl::StatusOr<TlsIdentity> LoadTlsIdentity(const v1::IdentityFiles& files,
                                            std::span<const Role> allowed_roles,
                                            absl::Time now) {
  TlsIdentity loaded;
  MLEDGE_ASSIGN_OR_RETURN(loaded.certificate_chain_pem,
                          ReadPem("certificate", files.certificate()));
  MLEDGE_ASSIGN_OR_RETURN(loaded.root_pem, ReadPem("root", files.root()));
  if (files.private_key().empty()) {
    return absl::InvalidArgumentError(
        "identity.private_key is not set; name the file there");
  }
  MLEDGE_ASSIGN_OR_RETURN(loaded.private_key_pem,
                          ReadPrivateKeyFile(files.private_key()));

  absl::StatusOr<std::vector<Certificate>> chain =
      ParsePemChain(loaded.certificate_chain_pem);
  if (!chain.ok()) return Annotate(chain.status(), files.certificate());
  const absl::StatusOr<Certificate> root = ParseRoot(loaded.root_pem);
  if (!root.ok()) return Annotate(root.status(), files.root());
  const absl::StatusOr<PrivateKey> key =
      PrivateKey::FromPem(loaded.private_key_pem);
  if (!key.ok()) return Annotate(key.status(), files.private_key());

  const Certificate& leaf = chain->front();
  if (!(key->public_key() == leaf.public_key())) {
    return absl::InvalidArgumentError(StrCat(
        "the private key in ", files.private_key(),
        " does not belong to the first certificate in ", files.certificate(),
        " (", leaf.subject(), "); use the two files of one folder"));
  }
  absl::StatusOr<Identity> identity = VerifyChain(*chain, *root, now);
  if (!identity.ok()) return Annotate(identity.status(), files.certificate());
  const absl::Status role_status = CheckRole(*identity, allowed_roles);
  if (!role_status.ok()) return Annotate(role_status, files.certificate());
  loaded.identity = *std::move(identity);
  loaded.not_after = leaf.not_after();
  return loaded;
}

}  // namespace mledge
