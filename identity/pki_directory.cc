#include "mledge/identity/pki_directory.h"

#include <sys/stat.h>

#include <utility>

#include "absl/strings/str_join.h"
#include "mledge/core/file.h"
#include "mledge/core/ids.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/certificate_authority.h"
#include "mledge/identity/certificate_signing_request.h"
#include "mledge/identity/private_key.h"
#include "mledge/identity/witness_key.h"

namespace mledge {
namespace {

bool Exists(const std::string& path) {
  struct stat file_status {};
  return lstat(path.c_str(), &file_status) == 0;
}

absl::Status RefuseToOverwrite(const std::string& directory,
                               std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const std::string path = StrCat(directory, "/", name);
    if (Exists(path)) {
      return absl::AlreadyExistsError(
          StrCat(path,
                 " exists and is not overwritten; choose another folder, or "
                 "move it away"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Certificate> LoadCertificate(const std::string& path) {
  absl::StatusOr<std::string> pem = ReadFile(path, 256 << 10);
  if (!pem.ok()) {
    if (absl::IsNotFound(pem.status())) {
      return absl::NotFoundError(StrCat(
          path, " does not exist; make a PKI there with `mledge pki init`"));
    }
    return pem.status();
  }
  absl::StatusOr<Certificate> certificate = Certificate::FromPem(*pem);
  if (!certificate.ok()) return Annotate(certificate.status(), path);
  return certificate;
}

// The configuration of mledge-registrar, with paths from the folder itself.
absl::StatusOr<std::string> RegistrarConfigOf(const PkiOptions& options) {
  for (const auto* ids : {&options.operators, &options.coordinators}) {
    for (const std::string& id : *ids) {
      MLEDGE_RETURN_IF_ERROR(ValidateId("id", id));
    }
  }
  return StrCat(
      "# mledge-registrar: see `RegistrarConfig` in "
      "proto/mledge/v1/config.proto.\n"
      "listen: 0.0.0.0:7444\n"
      "# Names under which it is reached, beside localhost:\n"
      "# hosts: [registrar.example, localhost]\n"
      "# What was issued, revoked and witnessed. Back it up; never start with\n"
      "# an older copy or without it under the same witness.key.\n"
      "state_directory: registrar-state\n"
      "keys:\n"
      "  certificate: registrar.crt\n"
      "  private_key: registrar.key\n"
      "  witness_key: witness.key\n"
      "  root: root.crt\n"
      "# Ids of those who may issue and revoke, and of the coordinators that "
      "it\n"
      "# witnesses for.\n"
      "operators: [",
      absl::StrJoin(options.operators, ", "), "]\ncoordinators: [",
      absl::StrJoin(options.coordinators, ", "), "]\n");
}

}  // namespace

absl::Status InitializePki(const std::string& directory,
                           const PkiOptions& options) {
  MLEDGE_RETURN_IF_ERROR(EnsureWritableDirectory(directory));
  MLEDGE_RETURN_IF_ERROR(RefuseToOverwrite(
      directory, {"root.crt", "root.key", "registrar.crt", "registrar.key",
                  "witness.key", "witness.pub", "registrar.yaml"}));
  MLEDGE_ASSIGN_OR_RETURN(const std::string config, RegistrarConfigOf(options));
  MLEDGE_ASSIGN_OR_RETURN(
      const CertificateAuthority root,
      CertificateAuthority::CreateRoot(options.name, options.now,
                                       options.root_validity));
  const PrivateKey registrar_key = PrivateKey::Generate();
  MLEDGE_ASSIGN_OR_RETURN(
      const Certificate registrar,
      root.Issue(registrar_key.public_key(),
                 {.identity = {Role::kRegistrar, options.name},
                  .now = options.now,
                  .validity = options.registrar_validity}));
  // Keys first: a certificate without its key is of no use to anybody.
  const std::string base = StrCat(directory, "/");
  MLEDGE_RETURN_IF_ERROR(WritePrivateKey(root.key(), base + "root.key"));
  MLEDGE_RETURN_IF_ERROR(
      WritePrivateKey(registrar_key, base + "registrar.key"));
  SystemSecretRandom random;
  const WitnessKey witness_key = WitnessKey::Generate(random);
  MLEDGE_RETURN_IF_ERROR(witness_key.Write(base + "witness.key"));
  MLEDGE_RETURN_IF_ERROR(
      WriteFileAtomically(base + "root.crt", root.certificate().ToPem()));
  MLEDGE_RETURN_IF_ERROR(
      WriteFileAtomically(base + "registrar.crt", registrar.ToPem()));
  MLEDGE_RETURN_IF_ERROR(WriteFileAtomically(
      base + "witness.pub", StrCat(witness_key.public_key().ToHex(), "\n")));
  return WriteFileAtomically(base + "registrar.yaml", config);
}

absl::StatusOr<IssuedIdentity> IssueIdentity(const std::string& directory,
                                             const PkiIssueOptions& options) {
  const std::string base = StrCat(directory, "/");
  MLEDGE_ASSIGN_OR_RETURN(const Certificate root,
                          LoadCertificate(base + "root.crt"));
  MLEDGE_ASSIGN_OR_RETURN(Certificate registrar,
                          LoadCertificate(base + "registrar.crt"));
  MLEDGE_ASSIGN_OR_RETURN(PrivateKey registrar_key,
                          LoadPrivateKey(base + "registrar.key"));
  absl::StatusOr<CertificateAuthority> authority = CertificateAuthority::Create(
      std::move(registrar), std::move(registrar_key));
  if (!authority.ok()) {
    return Annotate(authority.status(), base + "registrar.crt");
  }
  const std::string output = !options.output_directory.empty()
                                 ? options.output_directory
                                 : StrCat(base, ToString(options.identity.role),
                                          "-", options.identity.id);
  MLEDGE_RETURN_IF_ERROR(
      RefuseToOverwrite(output, {"certificate.pem", "root.pem"}));
  if (!options.csr_pem.has_value()) {
    MLEDGE_RETURN_IF_ERROR(RefuseToOverwrite(output, {"private_key.pem"}));
  }

  IssueOptions issue{.identity = options.identity,
                     .hosts = options.hosts,
                     .now = options.now,
                     .validity = options.validity};
  if (issue.identity.role == Role::kCoordinator && issue.hosts.empty()) {
    issue.hosts = {"localhost", "127.0.0.1", "::1"};
  }
  std::optional<PrivateKey> key;
  std::optional<PublicKey> public_key;
  if (options.csr_pem.has_value()) {
    MLEDGE_ASSIGN_OR_RETURN(const CertificateSigningRequest request,
                            ParseCertificateSigningRequest(*options.csr_pem));
    if (!(request.identity == options.identity)) {
      return absl::InvalidArgumentError(StrCat(
          "the certificate signing request is from ",
          request.identity.ToString(), ", but the certificate is to be for ",
          options.identity.ToString()));
    }
    public_key = request.public_key;
  } else {
    key = PrivateKey::Generate();
    public_key = key->public_key();
  }
  MLEDGE_ASSIGN_OR_RETURN(Certificate certificate,
                          authority->Issue(*public_key, issue));
  MLEDGE_RETURN_IF_ERROR(EnsureWritableDirectory(output));
  if (key.has_value()) {
    MLEDGE_RETURN_IF_ERROR(
        WritePrivateKey(*key, StrCat(output, "/private_key.pem")));
  }
  MLEDGE_RETURN_IF_ERROR(
      WriteFileAtomically(StrCat(output, "/root.pem"), root.ToPem()));
  MLEDGE_RETURN_IF_ERROR(WriteFileAtomically(
      StrCat(output, "/certificate.pem"),
      StrCat(certificate.ToPem(), authority->certificate().ToPem())));
  return IssuedIdentity{output, std::move(certificate)};
}

absl::Status RequestIdentity(const std::string& directory,
                             const Identity& identity) {
  MLEDGE_RETURN_IF_ERROR(ValidateId("id", identity.id));
  MLEDGE_RETURN_IF_ERROR(EnsureWritableDirectory(directory));
  MLEDGE_RETURN_IF_ERROR(
      RefuseToOverwrite(directory, {"private_key.pem", "request.csr"}));
  const PrivateKey key = PrivateKey::Generate();
  MLEDGE_RETURN_IF_ERROR(
      WritePrivateKey(key, StrCat(directory, "/private_key.pem")));
  return WriteFileAtomically(StrCat(directory, "/request.csr"),
                             CreateCertificateSigningRequest(key, identity));
}

absl::Status StoreIdentity(const std::string& directory,
                           const std::string& certificate_chain_pem,
                           const std::string& root_pem, absl::Time now) {
  MLEDGE_ASSIGN_OR_RETURN(const Certificate root, ParseRoot(root_pem));
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<Certificate> chain,
                          ParsePemChain(certificate_chain_pem));
  MLEDGE_RETURN_IF_ERROR(VerifyChain(chain, root, now).status());
  MLEDGE_ASSIGN_OR_RETURN(
      const PrivateKey key,
      LoadPrivateKey(StrCat(directory, "/private_key.pem")));
  if (!(key.public_key() == chain.front().public_key())) {
    return absl::InvalidArgumentError(StrCat(
        "the certificate does not belong to the private key in ", directory));
  }
  const std::string root_path = StrCat(directory, "/root.pem");
  if (Exists(root_path)) {
    MLEDGE_ASSIGN_OR_RETURN(const Certificate trusted,
                            LoadCertificate(root_path));
    if (trusted.fingerprint() != root.fingerprint()) {
      return absl::PermissionDeniedError(
          StrCat(root_path, " is another root than the certificate leads to"));
    }
  } else {
    MLEDGE_RETURN_IF_ERROR(WriteFileAtomically(root_path, root_pem));
  }
  return WriteFileAtomically(StrCat(directory, "/certificate.pem"),
                             certificate_chain_pem);
}

}  // namespace mledge
