#ifndef MLEDGE_MODEL_PACKAGE_MANIFEST_H_
#define MLEDGE_MODEL_PACKAGE_MANIFEST_H_

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/model/package.h"
#include "mledge/v1/model.pb.h"

// Between ModelPackage and the manifest that is signed, and what makes a
// package sound. Used by package_file.h, which is what everybody else includes.
// Pure functions.

namespace mledge {

// What SerializePackageFile and ParsePackageFile demand of the values (see
// there); INVALID_ARGUMENT.
absl::Status ValidatePackage(const ModelPackage& package);

// Precondition: ValidatePackage(package) is OK.
v1::PackageManifest ToManifest(const ModelPackage& package);

// `code` and `initial_parameters` are the bytes that the manifest names; their
// sizes and hashes are checked here. INVALID_ARGUMENT as above, and for unknown
// enum values.
absl::StatusOr<ModelPackage> FromManifest(const v1::PackageManifest& manifest,
                                          std::string_view code,
                                          std::string_view initial_parameters);

}  // namespace mledge

#endif  // MLEDGE_MODEL_PACKAGE_MANIFEST_H_
