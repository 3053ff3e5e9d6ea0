#ifndef MLEDGE_MODEL_PACKAGE_FILE_H_
#define MLEDGE_MODEL_PACKAGE_FILE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/core/sha256.h"
#include "mledge/identity/identity.h"
#include "mledge/identity/signing.h"
#include "mledge/model/package.h"
#include "mledge/v1/signature.pb.h"

// A model package as a file (format: proto/mledge/v1/model.proto), signed once
// by a model-signer and then only copied. Devices and the coordinator accept
// one only through ParsePackageFile, which looks at the signature before it
// looks at anything that the signature covers. Pure functions; thread-safe.
//
// Signatures cover code, layout and initial parameters (through their hashes).
// The file is read strictly: what was not written by SerializePackageFile, of
// this format version, is refused.

namespace mledge {

// Largest header (signature, layout, hashes) that is written or read.
inline constexpr uint64_t kMaximumPackageHeaderBytes = uint64_t{4} << 20;

struct PackageFile {
  ModelPackage package;
  // SHA-256 of the whole file: the package's name everywhere else.
  Digest sha256;
  Identity signer;
};

// INVALID_ARGUMENT: name that is no id, no code, parameters that are not of the
// layout, NaN or infinity among them (names entry and position), shapes below
// one, output or metric that does not go with the loss, layout too large for a
// header. PERMISSION_DENIED: the signer is no model-signer.
absl::StatusOr<std::string> SerializePackageFile(const ModelPackage& package,
                                                 const Signer& signer);

// INVALID_ARGUMENT: not a package, truncated, trailing bytes, a hash or a size
// that does not fit, or content as above. UNIMPLEMENTED: a newer format.
// PERMISSION_DENIED: see SignatureVerifier::Verify; the verifier's policy
// should be context kPackageContext and role kModelSigner.
absl::StatusOr<PackageFile> ParsePackageFile(std::string_view bytes,
                                             const SignatureVerifier& verifier,
                                             absl::Time now);

// For showing a file to people, and for nothing else: everything is checked
// except who signed.
struct UnverifiedPackageFile {
  ModelPackage package;
  Digest sha256;
  v1::SignedMessage signed_manifest;  // for ClaimedSigner, or to verify
};
absl::StatusOr<UnverifiedPackageFile> ParsePackageFileUnverified(
    std::string_view bytes);

}  // namespace mledge

#endif  // MLEDGE_MODEL_PACKAGE_FILE_H_
