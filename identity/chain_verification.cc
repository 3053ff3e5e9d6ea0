#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/internal/openssl.h"

namespace mledge {
namespace {

namespace internal = identity_internal;

// X509_verify_cert's security level 3: 128 bits, which P-256 has.
constexpr int kSecurityLevel = 3;
// Leaf, registrar, root.
constexpr int kChainLength = 3;

struct BorrowedStack {
  void operator()(STACK_OF(X509) * stack) const { sk_X509_free(stack); }
};

std::string Describe(const Certificate& certificate) {
  const absl::StatusOr<Identity> identity = certificate.identity();
  return identity.ok() ? StrCat("certificate of ", identity->ToString())
                       : StrCat("certificate ", certificate.subject());
}

std::string Describe(X509* certificate) {
  X509_up_ref(certificate);
  return Describe(Certificate::Adopt(certificate));
}

std::string Day(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", time, absl::UTCTimeZone());
}

absl::Status Explain(X509_STORE_CTX* context, const Certificate& leaf,
                     const Certificate& root, absl::Time now) {
  const int error = X509_STORE_CTX_get_error(context);
  X509* current = X509_STORE_CTX_get_current_cert(context);
  if (current == nullptr) current = leaf.handle();
  X509_up_ref(current);
  const Certificate certificate = Certificate::Adopt(current);
  const std::string who = Describe(certificate);
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return absl::PermissionDeniedError(
          StrCat(who, " expired on ", Day(certificate.not_after()), " (it is ",
                 Day(now), "); issue a new one"));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return absl::PermissionDeniedError(StrCat(
          who, " is not yet valid: it starts on ",
          Day(certificate.not_before()), " (it is ", Day(now),
          "); check the clocks of this machine and of the one that issued it"));
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      return absl::PermissionDeniedError(StrCat(
          Describe(leaf.handle()),
          ": its chain ends at an issuer that is not "
          "there (",
          certificate.issuer(), ") and does not lead to the trusted root (",
          root.subject(), ", SHA-256 ",
          root.fingerprint().ToHex().substr(0, 16),
          "…): it is from another PKI, or its chain lacks the registrar's "
          "certificate"));
    case X509_V_ERR_INVALID_CA:
    case X509_V_ERR_INVALID_NON_CA:
    case X509_V_ERR_KEYUSAGE_NO_CERTSIGN:
    case X509_V_ERR_PATH_LENGTH_EXCEEDED:
    case X509_V_ERR_PATHLEN_WITHOUT_KU_KEY_CERT_SIGN:
      return absl::PermissionDeniedError(StrCat(
          who, " stands in the chain of ", Describe(leaf.handle()),
          " as an issuer, but may not issue certificates at that place; have "
          "it issued by the registrar"));
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return absl::PermissionDeniedError(
          StrCat(who, " does not carry the signature of ", certificate.issuer(),
                 ": it was altered or forged"));
    default:
      return absl::PermissionDeniedError(StrCat(
          who, " is not acceptable: ", X509_verify_cert_error_string(error)));
  }
}

absl::Status CheckRoles(X509_STORE_CTX* context) {
  const STACK_OF(X509)* chain = X509_STORE_CTX_get0_chain(context);
  if (sk_X509_num(chain) != kChainLength) {
    return absl::PermissionDeniedError(
        StrCat(Describe(sk_X509_value(chain, 0)), ": its chain has ",
               sk_X509_num(chain),
               " certificates, where leaf, registrar and root are expected"));
  }
  constexpr Role kIssuers[] = {Role::kRegistrar, Role::kRoot};
  for (int i = 1; i < kChainLength; ++i) {
    X509* const issuer = sk_X509_value(chain, i);
    X509_up_ref(issuer);
    MLEDGE_ASSIGN_OR_RETURN(const Identity identity,
                            Certificate::Adopt(issuer).identity());
    if (identity.role != kIssuers[i - 1]) {
      return absl::PermissionDeniedError(
          StrCat("the chain of ", Describe(sk_X509_value(chain, 0)), " has ",
                 identity.ToString(), " where a ", ToString(kIssuers[i - 1]),
                 " is expected"));
    }
  }
  return absl::OkStatus();
}

// What is demanded of the end of a chain beside its signatures.
absl::StatusOr<Identity> CheckLeaf(X509_STORE_CTX* context,
                                   const Certificate& leaf) {
  MLEDGE_ASSIGN_OR_RETURN(Identity identity, leaf.identity());
  if (identity.role == Role::kRoot || identity.role == Role::kRegistrar ||
      leaf.can_issue()) {
    return absl::PermissionDeniedError(StrCat(
        Describe(leaf), " is for issuing certificates, and for nothing else"));
  }
  MLEDGE_RETURN_IF_ERROR(CheckRoles(context));
  if (!leaf.public_key().is_p256()) {
    return absl::PermissionDeniedError(
        StrCat(Describe(leaf), ": its key is not on the curve P-256"));
  }
  return identity;
}

// Signatures, dates, and who may issue. OK: then `check` is asked, which sees
// the chain that OpenSSL built.
absl::Status RunVerification(
    std::span<const Certificate> chain, const Certificate& root, absl::Time now,
    const std::function<absl::Status(X509_STORE_CTX*)>& check) {
  if (chain.empty()) {
    return absl::InvalidArgumentError("there is no certificate");
  }
  if (chain.size() > kMaximumChainLength) {
    return absl::InvalidArgumentError(
        StrCat("a chain of ", chain.size(), " certificates is too long"));
  }
  const Certificate& leaf = chain.front();
  const internal::X509StorePtr store(X509_STORE_new());
  const std::unique_ptr<STACK_OF(X509), BorrowedStack> others(
      sk_X509_new_null());
  const internal::X509StoreCtxPtr context(X509_STORE_CTX_new());
  CHECK(store != nullptr && others != nullptr && context != nullptr);
  CHECK(X509_STORE_add_cert(store.get(), root.handle()) == 1)
      << internal::TakeOpenSslError();
  for (const Certificate& certificate : chain.subspan(1)) {
    CHECK(sk_X509_push(others.get(), certificate.handle()) > 0);
  }
  CHECK(X509_STORE_CTX_init(context.get(), store.get(), leaf.handle(),
                            others.get()) == 1)
      << internal::TakeOpenSslError();
  X509_VERIFY_PARAM* const parameters =
      X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_time(parameters, absl::ToTimeT(now));
  X509_VERIFY_PARAM_set_flags(
      parameters, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
  X509_VERIFY_PARAM_set_auth_level(parameters, kSecurityLevel);
  const int verified = X509_verify_cert(context.get());
  ERR_clear_error();
  if (verified != 1) return Explain(context.get(), leaf, root, now);
  return check(context.get());
}

}  // namespace

absl::StatusOr<Identity> VerifyChain(std::span<const Certificate> chain,
                                     const Certificate& root, absl::Time now) {
  absl::StatusOr<Identity> identity = absl::InternalError("never asked");
  MLEDGE_RETURN_IF_ERROR(
      RunVerification(chain, root, now, [&](X509_STORE_CTX* context) {
        identity = CheckLeaf(context, chain.front());
        return identity.status();
      }));
  return identity;
}

absl::StatusOr<Identity> VerifyRegistrar(const Certificate& registrar,
                                         const Certificate& root,
                                         absl::Time now) {
  MLEDGE_RETURN_IF_ERROR(
      RunVerification({&registrar, 1}, root, now,
                      [](X509_STORE_CTX*) { return absl::OkStatus(); }));
  MLEDGE_ASSIGN_OR_RETURN(Identity identity, registrar.identity());
  if (identity.role != Role::kRegistrar || !registrar.can_issue()) {
    return absl::PermissionDeniedError(
        StrCat(Describe(registrar), " is not that of a registrar"));
  }
  if (!registrar.public_key().is_p256()) {
    return absl::PermissionDeniedError(
        StrCat(Describe(registrar), ": its key is not on the curve P-256"));
  }
  return identity;
}

}  // namespace mledge
