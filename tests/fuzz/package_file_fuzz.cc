#include <google/protobuf/stubs/logging.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "mledge/core/logging.h"
#include "mledge/model/package_file.h"
#include "mledge/model/package_manifest.h"
#include "mledge/tests/model/test_package.h"
#include "mledge/tests/support/test_pki.h"
#include "mledge/v1/model.pb.h"

// Bytes from outside as a package file, three times: as they are; as a manifest
// under a good signature with a sound model's blobs behind it, which reaches
// what the signature otherwise hides; and as blobs behind a sound manifest.
// Whatever is accepted must survive being written and read again.

namespace mledge {
namespace {

struct Setting {
  TestPki pki;
  Signer signer = pki.MakeSigner(Role::kModelSigner, "mona");
  SignatureVerifier verifier =
      pki.MakeVerifier(kPackageContext, Role::kModelSigner, {"mona"});
  ModelPackage package = MakeTestPackage();
};

std::string Frame(std::string_view header, std::string_view blobs) {
  std::string bytes("MLEDGEPK\x01\0\0\0", 12);
  const uint64_t size = header.size();
  bytes.append(reinterpret_cast<const char*>(&size), sizeof(size));
  return bytes.append(header).append(blobs);
}

void Check(const Setting& setting, std::string_view bytes) {
  const absl::StatusOr<PackageFile> file =
      ParsePackageFile(bytes, setting.verifier, setting.pki.now());
  if (!file.ok()) return;
  const absl::StatusOr<std::string> again =
      SerializePackageFile(file->package, setting.signer);
  CHECK(again.ok()) << again.status();
  const absl::StatusOr<PackageFile> reread =
      ParsePackageFile(*again, setting.verifier, setting.pki.now());
  CHECK(reread.ok()) << reread.status();
  CHECK(reread->package.layout->fingerprint() ==
        file->package.layout->fingerprint());
  CHECK(reread->package.initial_parameters.ContentHash() ==
        file->package.initial_parameters.ContentHash());
}

std::string Blobs(const ModelPackage& package) {
  const auto values = package.initial_parameters.values();
  return package.code +
         std::string(reinterpret_cast<const char*>(values.data()),
                     values.size_bytes());
}

void FuzzOne(std::string_view bytes) {
  // Protobuf reports each name that is not UTF-8.
  google::protobuf::SetLogHandler(nullptr);
  static const Setting* const kSetting = new Setting;
  static const std::string* const kBlobs =
      new std::string(Blobs(kSetting->package));
  static const std::string* const kHeader = new std::string(
      kSetting->signer
          .Sign(kPackageContext,
                ToManifest(kSetting->package).SerializeAsString())
          .SerializeAsString());
  Check(*kSetting, bytes);
  (void)ParsePackageFileUnverified(bytes);
  Check(*kSetting, Frame(*kHeader, bytes));
  // Signing is slow: only what could be a manifest is worth it.
  v1::PackageManifest manifest;
  if (!manifest.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return;
  }
  Check(*kSetting,
        Frame(kSetting->signer.Sign(kPackageContext, std::string(bytes))
                  .SerializeAsString(),
              *kBlobs));
}

}  // namespace
}  // namespace mledge

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mledge::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
