#include <google/protobuf/stubs/logging.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "mledge/core/logging.h"
#include "mledge/core/secret_random.h"
#include "mledge/identity/revocation_list.h"
#include "mledge/identity/witness.h"
#include "mledge/tests/support/test_pki.h"
#include "mledge/v1/signature.pb.h"
#include "mledge/v1/witness.pb.h"

// Bytes from outside as what the registrar signs: a revocation list as it
// arrives, its payload when the signature is good, a witness statement, one
// over sets, the head of a version log, and the keys by which they are known.
// The fuzzer holds no key, so nothing of it may be believed.

namespace mledge {
namespace {

void FuzzOne(std::string_view bytes) {
  google::protobuf::SetLogHandler(nullptr);
  static const TestPki* const kPki = new TestPki;
  static const Certificate* const kRoot =
      new Certificate(kPki->root().certificate());
  static SystemSecretRandom* const kRandom = new SystemSecretRandom;
  static const WitnessPublicKey* const kKey =
      new WitnessPublicKey(WitnessKey::Generate(*kRandom).public_key());
  static const Certificate* const kDevice = new Certificate(
      ParsePemChain(kPki->Issue(Role::kDevice, "d").certificate_chain_pem)
          ->front());
  const int size = static_cast<int>(bytes.size());

  v1::SignedMessage message;
  if (message.ParseFromArray(bytes.data(), size)) {
    CHECK(!RevocationList::Parse(message, *kRoot, kPki->now(), 0).ok());
  }
  v1::RevocationList content;
  if (content.ParseFromArray(bytes.data(), size)) {
    const auto list =
        RevocationList::Parse(RevocationList::Sign(content, kPki->registrar()),
                              *kRoot, kPki->now(), 0);
    if (list.ok()) {
      CHECK(list->number() > 0 && list->issued() < list->fresh_until());
      (void)list->CheckFresh(kPki->now());
      (void)list->Check(*kDevice);
    }
  }
  v1::WitnessStatement statement;
  if (statement.ParseFromArray(bytes.data(), size)) {
    if (const auto read = WitnessStatement::FromProto(statement); read.ok()) {
      CHECK(!read->Verify(*kKey).ok());
      CHECK(*WitnessStatement::FromProto(read->ToProto()) == *read);
    }
  }
  v1::SetsStatement sets;
  if (sets.ParseFromArray(bytes.data(), size)) {
    if (const auto read = SetsStatement::FromProto(sets); read.ok()) {
      CHECK(!read->Verify(*kKey).ok());
      CHECK(*SetsStatement::FromProto(read->ToProto()) == *read);
    }
  }
  v1::VersionLogHead head;
  if (head.ParseFromArray(bytes.data(), size)) {
    if (const auto read = VersionLogHead::FromProto(head); read.ok()) {
      CHECK(!read->Verify(*kKey).ok());
      CHECK(!read->CheckEnd(EmptyVersionLog(read->task), {{Sha256Of(bytes)}})
                 .ok());
      CHECK(*VersionLogHead::FromProto(read->ToProto()) == *read);
    }
  }
  (void)WitnessPublicKey::FromHex(bytes);
  if (const auto key = WitnessPublicKey::FromBytes(bytes.substr(0, 32));
      key.ok() && bytes.size() > 96) {
    (void)key->Verify(bytes.substr(96), bytes.substr(32, 64));
  }
  (void)WitnessKey::FromPem(SecretBytes::CopyFrom(bytes));
}

}  // namespace
}  // namespace mledge

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mledge::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
