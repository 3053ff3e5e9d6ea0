#ifndef MLEDGE_CLIENT_ASSIGNMENT_CHECK_H_
#define MLEDGE_CLIENT_ASSIGNMENT_CHECK_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mledge/core/sha256.h"
#include "mledge/model/package.h"
#include "mledge/privacy/plan/private_task.h"
#include "mledge/v1/device_service.pb.h"
#include "mledge/v1/model.pb.h"
#include "mledge/v1/task.pb.h"

// Whether a device may carry out what the coordinator asks of it: the
// coordinator is trusted to schedule, not to widen what an operator has signed.
// Pure functions, one for each thing that has arrived: first the assignment
// alone, then with its task, its package, its version statement. Signatures are
// verified before (package_cache.h). Each returns OK or says which field is
// wrong, what it is and what was allowed: INVALID_ARGUMENT (malformed),
// OUT_OF_RANGE (outside the task's or the device's bounds),
// FAILED_PRECONDITION (not for this device, or does not fit together),
// DEADLINE_EXCEEDED (expired).

namespace mledge {

// The protocol spoken by this build (CheckInRequest.protocol_version).
inline constexpr uint32_t kProtocolVersion = 1;

// What a device demands before it trains for secure aggregation. The session
// itself is checked when it is offered (aggregation/secagg/client.h); what can
// be seen from the task is refused before any work is done for it.
struct SecureAssignmentPolicy {
  bool allow_semi_honest = false;
  int64_t least_devices = 20;  // in a session, and in a group of one
};

// What the device itself is and is willing to take.
struct AssignmentPolicy {
  enum class Role { kDevice, kEvaluator };
  Role role = Role::kDevice;
  std::string population = "default";
  uint64_t maximum_task_bytes = uint64_t{1} << 20;
  uint64_t maximum_package_bytes = uint64_t{4} << 30;
  uint64_t maximum_parameters_bytes = uint64_t{4} << 30;
  // None: without a registrar in its configuration a device takes no part in
  // secure aggregation.
  std::optional<SecureAssignmentPolicy> secure;
};

// Ids, kinds, hashes and sizes; role; expiry.
absl::Status CheckAssignment(const v1::Assignment& assignment,
                             const AssignmentPolicy& policy, absl::Time now);

// Task id, population, package, learning rate and clip norm against what the
// operator signed; likewise that the update leaves the device in the way that
// the task says, and how it is encoded for that. `task` has passed
// ValidateTask; `task_sha256` is that of its signed payload.
absl::Status CheckAgainstTask(const v1::Assignment& assignment,
                              const v1::Task& task, const Digest& task_sha256,
                              const AssignmentPolicy& policy);

// Size of the parameters, and of a securely aggregated update, against the
// layout.
absl::Status CheckAgainstPackage(const v1::Assignment& assignment,
                                 const ModelPackage& package);

// How the update of a private task is encoded, its clip norm where layers are
// clipped, and that the coordinator shows its ledger: against the numbers that
// follow from task and package.
absl::Status CheckAgainstPrivacy(const v1::Assignment& assignment,
                                 const PrivateTask& task);

// The coordinator's statement is about this task, package and parameters, and
// about a version that the task's stop rule lets come to be.
absl::Status CheckVersionStatement(const v1::Assignment& assignment,
                                   const v1::VersionStatement& statement,
                                   const v1::Task& task,
                                   const ModelPackage& package);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_ASSIGNMENT_CHECK_H_
