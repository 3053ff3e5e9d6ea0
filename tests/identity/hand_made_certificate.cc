#include "mledge/tests/identity/hand_made_certificate.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace mledge {
namespace {

std::string Drain(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);  // NOLINT: OpenSSL's type
  std::string text(data, static_cast<size_t>(size));
  BIO_free(bio);
  return text;
}

}  // namespace

Certificate MakeByHand(const HandMade& content, const PublicKey& key,
                       const Certificate& issuer,
                       const PrivateKey& issuer_key) {
  X509* certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 4711);
  X509_NAME_add_entry_by_txt(
      X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
      reinterpret_cast<const unsigned char*>("by hand"), -1, -1, 0);
  X509_set_issuer_name(certificate, X509_get_subject_name(issuer.handle()));
  ASN1_TIME_set(X509_getm_notBefore(certificate),
                absl::ToTimeT(content.not_before));
  ASN1_TIME_set(X509_getm_notAfter(certificate),
                absl::ToTimeT(content.not_after));
  X509_set_pubkey(certificate, key.handle());
  const auto add = [&](int nid, const std::string& value) {
    if (value.empty()) return;
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer.handle(), certificate, nullptr, nullptr, 0);
    X509_EXTENSION* extension =
        X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    ASSERT_NE(extension, nullptr) << value;
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  };
  add(NID_basic_constraints, content.basic_constraints);
  add(NID_key_usage, content.key_usage);
  add(NID_subject_key_identifier, "hash");
  add(NID_authority_key_identifier, "keyid:always");
  add(NID_subject_alt_name, content.alternative_name);
  X509_sign(certificate, issuer_key.handle(), EVP_sha256());
  return Certificate::FromDer(Certificate::Adopt(certificate).ToDer()).value();
}

std::string MakeRequestByHand(const std::string& alternative_name,
                              const PrivateKey& named_key,
                              const PrivateKey& signing_key) {
  X509_REQ* request = X509_REQ_new();
  X509_REQ_set_pubkey(request, named_key.handle());
  if (!alternative_name.empty()) {
    STACK_OF(X509_EXTENSION)* extensions = sk_X509_EXTENSION_new_null();
    sk_X509_EXTENSION_push(
        extensions, X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name,
                                        alternative_name.c_str()));
    X509_REQ_add_extensions(request, extensions);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
  }
  X509_REQ_sign(request, signing_key.handle(), EVP_sha256());
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509_REQ(bio, request);
  X509_REQ_free(request);
  return Drain(bio);
}

std::string OtherKindOfKeyPem(const std::string& kind) {
  EVP_PKEY* key = kind == "RSA" ? EVP_RSA_gen(2048) : EVP_EC_gen(kind.c_str());
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr,
                                nullptr);
  EVP_PKEY_free(key);
  return Drain(bio);
}

PublicKey P384PublicKey() { return PublicKey::Adopt(EVP_EC_gen("P-384")); }

std::string EncryptedKeyPem() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  BIO* bio = BIO_new(BIO_s_mem());
  char passphrase[] = "secret";
  PEM_write_bio_PKCS8PrivateKey(bio, key, EVP_aes_256_cbc(), passphrase, 6,
                                nullptr, nullptr);
  EVP_PKEY_free(key);
  return Drain(bio);
}

}  // namespace mledge
