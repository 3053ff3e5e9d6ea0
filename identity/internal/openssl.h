#ifndef MLEDGE_IDENTITY_INTERNAL_OPENSSL_H_
#define MLEDGE_IDENTITY_INTERNAL_OPENSSL_H_

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/core/secret_bytes.h"

// OpenSSL's handles as owning pointers, and the conversions that several files
// of this module need. Private to identity/.

namespace mledge::identity_internal {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* handle) const {
    Free(handle);
  }
};

void FreeExtensions(STACK_OF(X509_EXTENSION) * extensions);

using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using PkeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using MdCtxPtr = std::unique_ptr<EVP_MD_CTX, Deleter<EVP_MD_CTX_free>>;
using X509Ptr = std::unique_ptr<X509, Deleter<X509_free>>;
using X509ReqPtr = std::unique_ptr<X509_REQ, Deleter<X509_REQ_free>>;
using X509NamePtr = std::unique_ptr<X509_NAME, Deleter<X509_NAME_free>>;
using X509StorePtr = std::unique_ptr<X509_STORE, Deleter<X509_STORE_free>>;
using X509StoreCtxPtr =
    std::unique_ptr<X509_STORE_CTX, Deleter<X509_STORE_CTX_free>>;
using ExtensionPtr =
    std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>>;
using ExtensionsPtr =
    std::unique_ptr<STACK_OF(X509_EXTENSION), Deleter<FreeExtensions>>;
using GeneralNamesPtr =
    std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>>;

// A reading BIO over `bytes`, which must outlive it.
BioPtr ReadOnly(std::string_view bytes);
// What was written to a memory BIO.
std::string Contents(BIO* bio);

// What OpenSSL's error queue says, emptied; "" when there is nothing.
std::string TakeOpenSslError();

bool IsP256(const EVP_PKEY* key);

// PKCS #8, not encrypted.
SecretBytes PrivateKeyToPem(EVP_PKEY* key);
// Readable by the owner only. ALREADY_EXISTS: a key is never overwritten.
absl::Status WriteKeyFile(const SecretBytes& pem, const std::string& path);

// "CN=device-7,OU=device,O=ML Edge".
std::string NameToString(const X509_NAME* name);
// O=ML Edge, OU=<role>, CN=<id>, the id cut to the 64 characters that a common
// name may have; who somebody is stands in the alternative name.
X509NamePtr MakeName(std::string_view role, std::string_view id);

// The one URI among the names; INVALID_ARGUMENT: none, several, or with a zero
// byte.
absl::StatusOr<std::string> OnlyUri(const GENERAL_NAMES* names);

// An extension in the syntax of OpenSSL's configuration files. `issuer` and
// `subject` are needed for key identifiers only.
ExtensionPtr MakeExtension(int nid, const std::string& value, X509* issuer,
                           X509* subject);

}  // namespace mledge::identity_internal

#endif  // MLEDGE_IDENTITY_INTERNAL_OPENSSL_H_
