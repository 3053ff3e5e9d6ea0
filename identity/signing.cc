#include "mledge/identity/signing.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_join.h"
#include "mledge/core/ids.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/internal/signed_bytes.h"

namespace mledge {
namespace {

constexpr std::string_view kSignedDomain{"mledge/v1/signed\x00", 17};
constexpr size_t kMaximumSignatureBytes = 256;

// What is signed: see signature.proto.
std::string SignedBytes(std::string_view context, std::string_view payload) {
  std::string bytes;
  bytes.reserve(kSignedDomain.size() + context.size() + payload.size() + 16);
  bytes.append(kSignedDomain);
  identity_internal::AppendField(bytes, context);
  identity_internal::AppendField(bytes, payload);
  return bytes;
}

absl::StatusOr<std::vector<Certificate>> ParseChain(
    const v1::SignedMessage& message) {
  if (message.certificates().empty()) {
    return absl::InvalidArgumentError("it carries no certificate");
  }
  if (static_cast<size_t>(message.certificates_size()) > kMaximumChainLength) {
    return absl::InvalidArgumentError(
        StrCat("it carries ", message.certificates_size(),
               " certificates; at most ", kMaximumChainLength, " are read"));
  }
  std::vector<Certificate> chain;
  for (const std::string& der : message.certificates()) {
    absl::StatusOr<Certificate> certificate = Certificate::FromDer(der);
    if (!certificate.ok()) {
      return Annotate(certificate.status(),
                      StrCat("certificate ", chain.size() + 1));
    }
    chain.push_back(*std::move(certificate));
  }
  return chain;
}

// Context and size of the signature.
absl::Status CheckForm(const v1::SignedMessage& message,
                       std::string_view context) {
  if (message.context() != context) {
    return absl::PermissionDeniedError(StrCat(
        "signed ", context, ": the signature was made for \"",
        message.context(), "\" and is worth nothing for \"", context, "\""));
  }
  if (message.signature().empty() ||
      message.signature().size() > kMaximumSignatureBytes) {
    return absl::InvalidArgumentError(
        StrCat("signed ", context, ": a signature of ",
               message.signature().size(), " bytes is none"));
  }
  return absl::OkStatus();
}

}  // namespace

Signer::Signer(std::vector<Certificate> chain, Identity identity,
               PrivateKey key)
    : chain_(std::move(chain)),
      identity_(std::move(identity)),
      key_(std::move(key)) {}

absl::StatusOr<Signer> Signer::Create(const TlsIdentity& identity) {
  MLEDGE_ASSIGN_OR_RETURN(std::vector<Certificate> chain,
                          ParsePemChain(identity.certificate_chain_pem));
  MLEDGE_ASSIGN_OR_RETURN(PrivateKey key,
                          PrivateKey::FromPem(identity.private_key_pem));
  MLEDGE_ASSIGN_OR_RETURN(Identity who, chain.front().identity());
  if (!(key.public_key() == chain.front().public_key())) {
    return absl::InvalidArgumentError(
        StrCat("the private key does not belong to the certificate of ",
               who.ToString()));
  }
  return Signer(std::move(chain), std::move(who), std::move(key));
}

v1::SignedMessage Signer::Sign(std::string_view context,
                               std::string payload) const {
  v1::SignedMessage message;
  message.set_context(std::string(context));
  message.set_signature(key_.Sign(SignedBytes(context, payload)));
  message.set_payload(std::move(payload));
  for (const Certificate& certificate : chain_) {
    message.add_certificates(certificate.ToDer());
  }
  return message;
}

SignatureVerifier::SignatureVerifier(Certificate root, SignaturePolicy policy)
    : root_(std::move(root)), policy_(std::move(policy)) {}

absl::StatusOr<SignatureVerifier> SignatureVerifier::Create(
    std::string_view root_pem, SignaturePolicy policy) {
  absl::StatusOr<Certificate> root = ParseRoot(root_pem);
  if (!root.ok()) return Annotate(root.status(), "root");
  if (policy.context.empty()) {
    return absl::InvalidArgumentError("a signature policy needs a context");
  }
  if (policy.trusted_ids.empty() && !policy.any_id) {
    return absl::InvalidArgumentError(StrCat(
        "no trusted ", ToString(policy.role), " is named, so no ",
        policy.context, " could ever be accepted; name at least one id"));
  }
  for (const std::string& id : policy.trusted_ids) {
    MLEDGE_RETURN_IF_ERROR(
        ValidateId(StrCat("trusted ", ToString(policy.role)), id));
  }
  return SignatureVerifier(*std::move(root), std::move(policy));
}

absl::StatusOr<Identity> SignatureVerifier::Verify(
    const v1::SignedMessage& message, absl::Time now) const {
  const std::string what = StrCat("signed ", policy_.context);
  MLEDGE_RETURN_IF_ERROR(CheckForm(message, policy_.context));
  absl::StatusOr<std::vector<Certificate>> chain = ParseChain(message);
  if (!chain.ok()) return Annotate(chain.status(), what);
  absl::StatusOr<Identity> identity = VerifyChain(*chain, root_, now);
  if (!identity.ok()) return Annotate(identity.status(), what);
  if (identity->role != policy_.role) {
    return absl::PermissionDeniedError(StrCat(
        what, ": signed by ", identity->ToString(), ", but a ", policy_.context,
        " must be signed by the role ", ToString(policy_.role)));
  }
  if (!policy_.any_id &&
      std::find(policy_.trusted_ids.begin(), policy_.trusted_ids.end(),
                identity->id) == policy_.trusted_ids.end()) {
    return absl::PermissionDeniedError(
        StrCat(what, ": signed by ", identity->ToString(),
               ", who is not trusted here (trusted: ",
               absl::StrJoin(policy_.trusted_ids, ", "),
               "); add the id to the configuration if that is intended"));
  }
  const absl::Status signature = chain->front().public_key().Verify(
      SignedBytes(message.context(), message.payload()), message.signature());
  if (!signature.ok()) {
    return absl::Status(
        signature.code(),
        StrCat(what, ": ", signature.message(), " the key of ",
               identity->ToString(),
               ": the content was altered after signing, or the signer "
               "had another key"));
  }
  return identity;
}

v1::SignedMessage SignAsRegistrar(const CertificateAuthority& registrar,
                                  std::string_view context,
                                  std::string payload) {
  v1::SignedMessage message;
  message.set_context(std::string(context));
  message.set_signature(registrar.key().Sign(SignedBytes(context, payload)));
  message.set_payload(std::move(payload));
  message.add_certificates(registrar.certificate().ToDer());
  return message;
}

absl::StatusOr<Certificate> VerifyRegistrarMessage(
    const v1::SignedMessage& message, std::string_view context,
    const Certificate& root, absl::Time now) {
  const std::string what = StrCat("signed ", context);
  MLEDGE_RETURN_IF_ERROR(CheckForm(message, context));
  absl::StatusOr<std::vector<Certificate>> chain = ParseChain(message);
  if (!chain.ok()) return Annotate(chain.status(), what);
  Certificate& registrar = chain->front();
  const absl::StatusOr<Identity> identity =
      VerifyRegistrar(registrar, root, now);
  if (!identity.ok()) return Annotate(identity.status(), what);
  const absl::Status signature = registrar.public_key().Verify(
      SignedBytes(message.context(), message.payload()), message.signature());
  if (!signature.ok()) {
    return absl::Status(signature.code(),
                        StrCat(what, ": ", signature.message(), " the key of ",
                               identity->ToString(),
                               ": the content was altered after signing"));
  }
  return std::move(registrar);
}

absl::StatusOr<Identity> ClaimedSigner(const v1::SignedMessage& message) {
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<Certificate> chain,
                          ParseChain(message));
  return chain.front().identity();
}

}  // namespace mledge
