#include "mledge/cli/task_model.h"

#include <string>
#include <utility>

#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/model/package_file.h"
#include "mledge/model/torch/built_in_models.h"

namespace mledge {

absl::StatusOr<ModelPackage> OpenTaskModel(const v1::Task& task) {
  const v1::ModelReference& model = task.model();
  if (model.package().empty()) {
    const v1::BuiltInModel& built_in = model.built_in();
    return CreateBuiltInModel(
        {.architecture = built_in.architecture(),
         .inputs = built_in.inputs(),
         .outputs = built_in.outputs(),
         .hidden = {built_in.hidden().begin(), built_in.hidden().end()},
         .regression = built_in.regression()},
        task.seed());
  }
  MLEDGE_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(model.package()));
  absl::StatusOr<UnverifiedPackageFile> file =
      ParsePackageFileUnverified(bytes);
  if (!file.ok()) return Annotate(file.status(), model.package());
  if (!model.package_sha256().empty() &&
      model.package_sha256() != file->sha256.ToHex()) {
    return absl::FailedPreconditionError(
        StrCat(model.package(), " has the SHA-256 ", file->sha256.ToHex(),
               ", but model.package_sha256 of the task is ",
               model.package_sha256(), "; name the right package"));
  }
  return std::move(file->package);
}

}  // namespace mledge
