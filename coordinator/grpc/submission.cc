#include "mledge/coordinator/grpc/submission.h"

#include <google/protobuf/util/message_differencer.h>

#include <utility>

#include "mledge/core/sha256.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/model/package_file.h"
#include "mledge/task/validation.h"
#include "mledge/v1/task.pb.h"

namespace mledge {

absl::StatusOr<Coordinator::Submission> CheckSubmission(
    const v1::SignedMessage& signed_task, std::string package_file,
    const SignatureVerifier& task_verifier,
    const SignatureVerifier& package_verifier, absl::Time now) {
  absl::StatusOr<Identity> signer = task_verifier.Verify(signed_task, now);
  if (!signer.ok()) {
    return Annotate(signer.status(),
                    "the task is not accepted (trusted_operators)");
  }
  v1::Task task;
  if (!task.ParseFromString(signed_task.payload())) {
    return absl::InvalidArgumentError("what was signed is no task message");
  }
  v1::Task validated = task;
  MLEDGE_RETURN_IF_ERROR(Annotate(ValidateTask(&validated), "the task"));
  if (!google::protobuf::util::MessageDifferencer::Equals(task, validated)) {
    return absl::InvalidArgumentError(
        StrCat("task ", task.name(),
               " leaves defaults open: they must be written out before it is "
               "signed (mledge task submit does so)"));
  }
  const std::string sha256 = Sha256Of(package_file).ToHex();
  if (task.model().package_sha256() != sha256) {
    return absl::InvalidArgumentError(
        StrCat("task ", task.name(), " is for the package with SHA-256 '",
               task.model().package_sha256(), "', the one sent has ", sha256));
  }
  const absl::StatusOr<PackageFile> package =
      ParsePackageFile(package_file, package_verifier, now);
  if (!package.ok()) {
    return Annotate(package.status(),
                    absl::IsPermissionDenied(package.status())
                        ? "the package is not accepted (trusted_model_signers)"
                        : "the package is not accepted");
  }
  return Coordinator::Submission{
      .task = std::move(task),
      .signed_task = signed_task.SerializeAsString(),
      .package_file = std::move(package_file),
      .submitted_by = signer->id,
  };
}

}  // namespace mledge
