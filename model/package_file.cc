#include "mledge/model/package_file.h"

#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/model/package_manifest.h"
#include "mledge/v1/model.pb.h"

namespace mledge {
namespace {

constexpr std::string_view kMagic = "MLEDGEPK";
constexpr uint64_t kFormatVersion = 1;
constexpr size_t kVersionBytes = 4;
constexpr size_t kLengthBytes = 8;
constexpr size_t kFrameBytes = kMagic.size() + kVersionBytes + kLengthBytes;

void AppendLittleEndian(std::string& out, uint64_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) {
    out.push_back(static_cast<char>((value >> (8 * i)) & 0xff));
  }
}

uint64_t ReadLittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    value |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return value;
}

absl::Status Invalid(std::string_view why) {
  return absl::InvalidArgumentError(StrCat("model package: ", why));
}

// Refuses fields that this version does not know, at any depth: they would be
// carried along unseen.
template <typename Message>
absl::Status ParseStrictly(std::string_view what, std::string_view bytes,
                           Message& message) {
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Invalid(StrCat("its ", what, " cannot be parsed"));
  }
  const size_t size = message.ByteSizeLong();
  message.DiscardUnknownFields();
  if (message.ByteSizeLong() != size) {
    return Invalid(
        StrCat("its ", what, " has fields that this version does not know"));
  }
  return absl::OkStatus();
}

struct Parts {
  v1::SignedMessage signed_manifest;
  std::string_view blobs;  // code, then initial parameters
};

absl::StatusOr<Parts> Split(std::string_view bytes) {
  if (bytes.substr(0, kMagic.size()) != kMagic) {
    return Invalid("this is no package: it does not start with MLEDGEPK");
  }
  if (bytes.size() < kFrameBytes) {
    return Invalid("the file ends within its first 20 bytes");
  }
  const uint64_t version =
      ReadLittleEndian(bytes.substr(kMagic.size(), kVersionBytes));
  if (version != kFormatVersion) {
    return absl::UnimplementedError(
        StrCat("model package: format version ", version,
               ", where this program reads version ", kFormatVersion));
  }
  const uint64_t header_size = ReadLittleEndian(
      bytes.substr(kMagic.size() + kVersionBytes, kLengthBytes));
  if (header_size > kMaximumPackageHeaderBytes) {
    return Invalid(StrCat("its header claims ", header_size, " bytes; at most ",
                          kMaximumPackageHeaderBytes, " are read"));
  }
  if (header_size > bytes.size() - kFrameBytes) {
    return Invalid(StrCat("the file ends within its header: ", header_size,
                          " bytes are announced, ", bytes.size() - kFrameBytes,
                          " are there"));
  }
  Parts parts;
  MLEDGE_RETURN_IF_ERROR(ParseStrictly(
      "header", bytes.substr(kFrameBytes, header_size), parts.signed_manifest));
  parts.blobs = bytes.substr(kFrameBytes + header_size);
  return parts;
}

absl::StatusOr<ModelPackage> ParseManifest(const Parts& parts) {
  v1::PackageManifest manifest;
  MLEDGE_RETURN_IF_ERROR(
      ParseStrictly("manifest", parts.signed_manifest.payload(), manifest));
  const uint64_t code_size = manifest.code().size_in_bytes();
  const uint64_t there = parts.blobs.size();
  // Compared without adding, which could overflow.
  if (code_size > there ||
      manifest.initial_parameters().size_in_bytes() > there - code_size) {
    return Invalid(StrCat("the file is truncated: code of ", code_size,
                          " bytes and parameters of ",
                          manifest.initial_parameters().size_in_bytes(),
                          " bytes are announced, ", there, " bytes are there"));
  }
  if (manifest.initial_parameters().size_in_bytes() < there - code_size) {
    return Invalid(StrCat(
        "the file goes on after its end, by ",
        there - code_size - manifest.initial_parameters().size_in_bytes(),
        " bytes"));
  }
  absl::StatusOr<ModelPackage> package =
      FromManifest(manifest, parts.blobs.substr(0, code_size),
                   parts.blobs.substr(code_size));
  if (!package.ok()) return Annotate(package.status(), "model package");
  return package;
}

}  // namespace

absl::StatusOr<std::string> SerializePackageFile(const ModelPackage& package,
                                                 const Signer& signer) {
  if (signer.identity().role != Role::kModelSigner) {
    return absl::PermissionDeniedError(
        StrCat("model packages are signed by a model-signer, not by ",
               signer.identity().ToString(),
               "; issue one with `mledge pki issue DIR --role model-signer "
               "--id ID`"));
  }
  const absl::Status sound = ValidatePackage(package);
  if (!sound.ok()) return Annotate(sound, "model package");
  const std::string header =
      signer.Sign(kPackageContext, ToManifest(package).SerializeAsString())
          .SerializeAsString();
  if (header.size() > kMaximumPackageHeaderBytes) {
    return Invalid(StrCat("its header would have ", header.size(), " bytes (",
                          package.layout->entries().size(),
                          " layout entries); at most ",
                          kMaximumPackageHeaderBytes, " are allowed"));
  }
  const std::span<const float> values = package.initial_parameters.values();
  std::string bytes;
  bytes.reserve(kFrameBytes + header.size() + package.code.size() +
                values.size_bytes());
  bytes.append(kMagic);
  AppendLittleEndian(bytes, kFormatVersion, kVersionBytes);
  AppendLittleEndian(bytes, header.size(), kLengthBytes);
  bytes.append(header);
  bytes.append(package.code);
  bytes.append(reinterpret_cast<const char*>(values.data()),
               values.size_bytes());
  return bytes;
}

absl::StatusOr<PackageFile> ParsePackageFile(std::string_view bytes,
                                             const SignatureVerifier& verifier,
                                             absl::Time now) {
  MLEDGE_ASSIGN_OR_RETURN(const Parts parts, Split(bytes));
  absl::StatusOr<Identity> signer = verifier.Verify(parts.signed_manifest, now);
  if (!signer.ok()) return Annotate(signer.status(), "model package");
  MLEDGE_ASSIGN_OR_RETURN(ModelPackage package, ParseManifest(parts));
  return PackageFile{std::move(package), Sha256Of(bytes), *std::move(signer)};
}

absl::StatusOr<UnverifiedPackageFile> ParsePackageFileUnverified(
    std::string_view bytes) {
  MLEDGE_ASSIGN_OR_RETURN(Parts parts, Split(bytes));
  MLEDGE_ASSIGN_OR_RETURN(ModelPackage package, ParseManifest(parts));
  return UnverifiedPackageFile{std::move(package), Sha256Of(bytes),
                               std::move(parts.signed_manifest)};
}

}  // namespace mledge
