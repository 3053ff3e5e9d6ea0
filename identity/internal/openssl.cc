#include "mledge/identity/internal/openssl.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <sys/stat.h>

#include <array>
#include <cstring>

#include "absl/status/status.h"
#include "mledge/core/file.h"
#include "mledge/core/logging.h"
#include "mledge/core/strings.h"

namespace mledge::identity_internal {

void FreeExtensions(STACK_OF(X509_EXTENSION) * extensions) {
  sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
}

BioPtr ReadOnly(std::string_view bytes) {
  // A null pointer is no buffer to OpenSSL, not even an empty one.
  BioPtr bio(BIO_new_mem_buf(bytes.empty() ? "" : bytes.data(),
                             static_cast<int>(bytes.size())));
  CHECK(bio != nullptr) << TakeOpenSslError();
  return bio;
}

std::string Contents(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);  // NOLINT: OpenSSL's type
  return std::string(data, static_cast<size_t>(size));
}

std::string TakeOpenSslError() {
  const unsigned long code = ERR_peek_last_error();  // NOLINT: OpenSSL's type
  ERR_clear_error();
  if (code == 0) return "";
  const char* reason = ERR_reason_error_string(code);
  return reason == nullptr ? StrCat("OpenSSL error ", code) : reason;
}

bool IsP256(const EVP_PKEY* key) {
  if (key == nullptr || EVP_PKEY_get_base_id(key) != EVP_PKEY_EC) return false;
  std::array<char, 64> group{};
  size_t length = 0;
  if (EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME,
                                     group.data(), group.size(),
                                     &length) != 1) {
    ERR_clear_error();
    return false;
  }
  return std::strcmp(group.data(), SN_X9_62_prime256v1) == 0;
}

SecretBytes PrivateKeyToPem(EVP_PKEY* key) {
  // A secure-memory BIO wipes its buffers.
  const BioPtr bio(BIO_new(BIO_s_secmem()));
  CHECK(bio != nullptr &&
        PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0,
                                      nullptr, nullptr) == 1)
      << TakeOpenSslError();
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);  // NOLINT
  return SecretBytes::CopyFrom(
      std::string_view(data, static_cast<size_t>(size)));
}

absl::Status WriteKeyFile(const SecretBytes& pem, const std::string& path) {
  struct stat file_status {};
  if (lstat(path.c_str(), &file_status) == 0) {
    return absl::AlreadyExistsError(StrCat(
        path, " exists; keys are never overwritten, move it away first"));
  }
  const std::span<const uint8_t> bytes = pem.bytes(RevealSecret());
  return WriteFileAtomically(
      path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()},
      FileMode::kPrivate);
}

std::string NameToString(const X509_NAME* name) {
  BioPtr bio(BIO_new(BIO_s_mem()));
  CHECK(bio != nullptr);
  X509_NAME_print_ex(bio.get(), name, 0,
                     XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  return Contents(bio.get());
}

X509NamePtr MakeName(std::string_view role, std::string_view id) {
  X509NamePtr name(X509_NAME_new());
  CHECK(name != nullptr);
  const auto add = [&name](const char* field, std::string_view value) {
    CHECK(X509_NAME_add_entry_by_txt(
              name.get(), field, MBSTRING_UTF8,
              reinterpret_cast<const unsigned char*>(value.data()),
              static_cast<int>(value.size()), -1, 0) == 1)
        << field << ": " << TakeOpenSslError();
  };
  add("O", "ML Edge");
  add("OU", role);
  add("CN", id.substr(0, 64));
  return name;
}

absl::StatusOr<std::string> OnlyUri(const GENERAL_NAMES* names) {
  std::string uri;
  int count = 0;
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* value = name->d.uniformResourceIdentifier;
    uri.assign(reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)),
               static_cast<size_t>(ASN1_STRING_length(value)));
    ++count;
  }
  if (count == 0) {
    return absl::InvalidArgumentError(
        "it has no role: a subject alternative name mledge://<role>/<id> is "
        "missing; issue one with `mledge pki issue`");
  }
  if (count > 1) {
    return absl::InvalidArgumentError(
        StrCat("it has ", count,
               " URIs in its subject alternative name; exactly one "
               "identity is allowed"));
  }
  if (uri.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("its identity holds a zero byte");
  }
  return uri;
}

ExtensionPtr MakeExtension(int nid, const std::string& value, X509* issuer,
                           X509* subject) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, subject, nullptr, nullptr, 0);
  ExtensionPtr extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  CHECK(extension != nullptr)
      << OBJ_nid2sn(nid) << " = " << value << ": " << TakeOpenSslError();
  return extension;
}

}  // namespace mledge::identity_internal
