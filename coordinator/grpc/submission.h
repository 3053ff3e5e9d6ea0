#ifndef MLEDGE_COORDINATOR_GRPC_SUBMISSION_H_
#define MLEDGE_COORDINATOR_GRPC_SUBMISSION_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/identity/signing.h"
#include "mledge/v1/signature.pb.h"

// Whether a task may run here: everything about it that can be known before it
// starts. A pure function.

namespace mledge {

// `task_verifier` and `package_verifier` name the operators and model-signers
// that this coordinator's configuration trusts. PERMISSION_DENIED: a signer
// that it does not trust. INVALID_ARGUMENT: the signed bytes are no task, the
// task is not valid or not written out as validation would (so that device and
// coordinator would read it differently), or the package is not the one that
// the task names, or damaged.
absl::StatusOr<Coordinator::Submission> CheckSubmission(
    const v1::SignedMessage& signed_task, std::string package_file,
    const SignatureVerifier& task_verifier,
    const SignatureVerifier& package_verifier, absl::Time now);

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_GRPC_SUBMISSION_H_
