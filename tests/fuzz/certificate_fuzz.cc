#include <google/protobuf/stubs/logging.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mledge/core/logging.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/certificate_signing_request.h"
#include "mledge/identity/signing.h"
#include "mledge/tests/support/test_pki.h"
#include "mledge/v1/signature.pb.h"

// Bytes from outside as whatever identity/ reads: certificates in DER and PEM,
// signing requests, private keys, signed messages. Nothing of it may be
// believed, because the fuzzer does not hold the keys.

namespace mledge {
namespace {

void FuzzOne(std::string_view bytes) {
  // Protobuf reports each name that is not UTF-8.
  google::protobuf::SetLogHandler(nullptr);
  static const TestPki* const kPki = new TestPki;
  static const Certificate* const kRoot =
      new Certificate(kPki->root().certificate());
  static const SignatureVerifier* const kVerifier = new SignatureVerifier(
      kPki->MakeVerifier(kTaskContext, Role::kOperator, {"alice"}));

  if (const auto certificate = Certificate::FromDer(bytes); certificate.ok()) {
    (void)certificate->identity();
    (void)certificate->hosts();
    (void)certificate->subject();
    (void)certificate->not_before();
    (void)certificate->not_after();
    (void)certificate->serial();
    const std::vector<Certificate> chain = {*certificate,
                                            kPki->registrar().certificate()};
    CHECK(!VerifyChain(chain, *kRoot, kPki->now()).ok());
  }
  (void)IdentityFromPem(bytes);
  (void)ParseRoot(bytes);
  (void)ParseCertificateSigningRequest(bytes);
  (void)PrivateKey::FromPem(SecretBytes::CopyFrom(bytes));
  v1::SignedMessage message;
  if (message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    CHECK(!kVerifier->Verify(message, kPki->now()).ok());
    message.set_context("task");
    CHECK(!kVerifier->Verify(message, kPki->now()).ok());
  }
}

}  // namespace
}  // namespace mledge

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mledge::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
