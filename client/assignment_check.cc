#include "mledge/client/assignment_check.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "mledge/aggregation/secagg/update_codec.h"
#include "mledge/client/training_plan.h"
#include "mledge/core/ids.h"
#include "mledge/core/sha256.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

absl::Status CheckBlob(std::string_view name, const v1::Blob& blob,
                       uint64_t maximum) {
  if (blob.sha256().size() != 32) {
    return absl::InvalidArgumentError(StrCat(
        name, ".sha256 has ", blob.sha256().size(), " bytes instead of 32"));
  }
  if (blob.size_in_bytes() == 0) {
    return absl::InvalidArgumentError(StrCat(name, " is empty"));
  }
  if (blob.size_in_bytes() > maximum) {
    return absl::OutOfRangeError(StrCat(name, " has ", blob.size_in_bytes(),
                                        " bytes; this device takes at most ",
                                        maximum));
  }
  return absl::OkStatus();
}

absl::Status CheckWithin(std::string_view name, double value, double low,
                         double high) {
  // Resolving a schedule may round differently by a few units in the last
  // place.
  constexpr double kSlack = 1e-9;
  if (value >= low - kSlack * std::abs(low) &&
      value <= high + kSlack * std::abs(high)) {
    return absl::OkStatus();
  }
  if (low == high) {
    return absl::OutOfRangeError(StrCat(
        name, " is ", value, "; the task that the operator signed says ", low));
  }
  return absl::OutOfRangeError(StrCat(name, " is ", value,
                                      "; the task that the operator signed "
                                      "allows ",
                                      low, " to ", high));
}

// Between which values the schedule may have brought the learning rate by a
// round.
absl::Status CheckLearningRate(const v1::Assignment& assignment,
                               const v1::LocalTraining& training) {
  const double rate = training.has_adam() ? training.adam().learning_rate()
                                          : training.sgd().learning_rate();
  const v1::LearningRateSchedule& schedule = training.learning_rate_schedule();
  double end = rate;
  switch (schedule.kind()) {
    case v1::LearningRateSchedule::STEP: {
      const int64_t steps = (assignment.round() - 1) / schedule.every();
      end = rate * std::pow(schedule.factor(), static_cast<double>(steps));
      break;
    }
    case v1::LearningRateSchedule::COSINE:
      end = rate * schedule.factor();
      break;
    default:
      break;
  }
  return CheckWithin("learning_rate", assignment.learning_rate(),
                     std::min(rate, end), std::max(rate, end));
}

template <typename T>
absl::Status CheckResolved(std::string_view name, T value, T wanted) {
  if (value == wanted) return absl::OkStatus();
  return absl::OutOfRangeError(
      StrCat("secure.", name, " is ", value,
             "; from the task that the operator signed follows ", wanted));
}

bool IsPrivate(const v1::Task& task) {
  return task.privacy().mechanism() > v1::Privacy::NONE;
}

// How an update is encoded follows from the task, so that the coordinator
// cannot make one device's stand out in the sum.
absl::Status CheckEncoding(const v1::SecureAssignment& secure,
                           const v1::Task& task, int64_t most_devices,
                           const Digest& task_sha256) {
  if (secure.task_sha256() != task_sha256.ToBytes()) {
    return absl::FailedPreconditionError(
        "secure.task_sha256 is not that of the task that the operator signed");
  }
  const v1::Aggregation& aggregation = task.aggregation();
  const v1::SecureAggregation& wanted = task.secure_aggregation();
  MLEDGE_RETURN_IF_ERROR(
      CheckResolved("uniform_weight", secure.uniform_weight(),
                    aggregation.weighting() == v1::Aggregation::UNIFORM));
  MLEDGE_RETURN_IF_ERROR(
      CheckResolved("maximum_updates", secure.maximum_updates(), most_devices));
  MLEDGE_RETURN_IF_ERROR(CheckResolved(
      "semi_honest", secure.semi_honest(),
      wanted.threat_model() == v1::SecureAggregation::SEMI_HONEST));
  MLEDGE_RETURN_IF_ERROR(
      CheckResolved("grid", secure.has_grid(), IsPrivate(task)));
  // The rest of a private task follows from more than the task
  // (CheckAgainstPrivacy).
  if (IsPrivate(task)) return absl::OkStatus();
  MLEDGE_RETURN_IF_ERROR(CheckResolved("value_bound", secure.value_bound(),
                                       aggregation.value_bound()));
  MLEDGE_RETURN_IF_ERROR(CheckResolved("weight_bound", secure.weight_bound(),
                                       aggregation.weight_bound()));
  MLEDGE_RETURN_IF_ERROR(
      CheckResolved("value_bits", secure.value_bits(), wanted.value_bits()));
  MLEDGE_RETURN_IF_ERROR(CheckResolved("clip_bit", secure.clip_bit(), false));
  return Annotate(
      secagg::UpdateCodec::Create(MakeCodecOptions(secure)).status(), "secure");
}

// Whether what this device has leaves it as the operator signed it.
absl::Status CheckSecure(const v1::Assignment& assignment, const v1::Task& task,
                         const Digest& task_sha256,
                         const AssignmentPolicy& policy) {
  const v1::SecureAggregation& wanted = task.secure_aggregation();
  const bool training = assignment.kind() == v1::Assignment::TRAIN;
  if (!training && IsPrivate(task) &&
      policy.role == AssignmentPolicy::Role::kDevice) {
    return absl::FailedPreconditionError(
        "the task is private: what this device would say of its examples in an "
        "evaluation has no noise, so only evaluators report");
  }
  if (wanted.mode() != v1::SecureAggregation::ON ||
      policy.role == AssignmentPolicy::Role::kEvaluator) {
    if (assignment.has_secure()) {
      return absl::FailedPreconditionError(
          "the assignment wants secure aggregation, the task that the operator "
          "signed does not");
    }
    return absl::OkStatus();
  }
  if (!training && task.evaluation().where() != v1::Evaluation::DEVICES) {
    return absl::FailedPreconditionError(
        "the task that the operator signed is evaluated by evaluators, not by "
        "devices");
  }
  if (!assignment.has_secure()) {
    return absl::FailedPreconditionError(StrCat(
        "the assignment leaves out secure aggregation, which the operator "
        "signed: the coordinator would see ",
        training ? "this device's update" : "how this device's examples fare"));
  }
  if (!policy.secure.has_value()) {
    return absl::FailedPreconditionError(
        "the task has secure aggregation, for which this device needs "
        "`registrar: {witness_key: …}` in its configuration: the contents of "
        "the registrar's witness.pub");
  }
  if (wanted.threat_model() == v1::SecureAggregation::SEMI_HONEST &&
      !policy.secure->allow_semi_honest) {
    return absl::FailedPreconditionError(
        "the task's threat model is semi_honest: it trusts the coordinator to "
        "follow the protocol. This device takes part only with "
        "`secure_aggregation: {allow_semi_honest: true}` in its configuration");
  }
  const int64_t least = policy.secure->least_devices;
  const int64_t devices =
      training ? task.cohort().size() : task.evaluation().devices();
  const int64_t most = wanted.group_size() > 0
                           ? std::min(wanted.group_size(), devices)
                           : devices;
  if (most < least) {
    return absl::FailedPreconditionError(
        StrCat("the task adds up at most ", most,
               training ? " updates" : " evaluations",
               ", this device hides among no fewer than ", least,
               ": its configuration's secure_aggregation.least_devices says "
               "so"));
  }
  return CheckEncoding(assignment.secure(), task, devices, task_sha256);
}

absl::Status CheckRole(const v1::Assignment& assignment,
                       AssignmentPolicy::Role role) {
  switch (assignment.kind()) {
    case v1::Assignment::TRAIN:
      if (role == AssignmentPolicy::Role::kEvaluator) {
        return absl::FailedPreconditionError(
            "an evaluator never trains; only devices do");
      }
      return absl::OkStatus();
    case v1::Assignment::EVALUATE:
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError(
          StrCat("kind ", static_cast<int>(assignment.kind()),
                 " is unknown here; this build trains and evaluates"));
  }
}

}  // namespace

absl::Status CheckAssignment(const v1::Assignment& assignment,
                             const AssignmentPolicy& policy, absl::Time now) {
  MLEDGE_RETURN_IF_ERROR(
      ValidateId("assignment_id", assignment.assignment_id()));
  MLEDGE_RETURN_IF_ERROR(ValidateId("task_id", assignment.task_id()));
  if (assignment.protocol_version() != kProtocolVersion) {
    return absl::FailedPreconditionError(
        StrCat("protocol_version is ", assignment.protocol_version(),
               ", this device speaks ", kProtocolVersion));
  }
  MLEDGE_RETURN_IF_ERROR(CheckRole(assignment, policy.role));
  if (assignment.round() < 0 || assignment.ordinal() < 0) {
    return absl::InvalidArgumentError(
        StrCat("round ", assignment.round(), " and ordinal ",
               assignment.ordinal(), " must not be negative"));
  }
  MLEDGE_RETURN_IF_ERROR(CheckBlob("signed_task", assignment.signed_task(),
                                   policy.maximum_task_bytes));
  MLEDGE_RETURN_IF_ERROR(
      CheckBlob("package", assignment.package(), policy.maximum_package_bytes));
  MLEDGE_RETURN_IF_ERROR(CheckBlob("parameters", assignment.parameters(),
                                   policy.maximum_parameters_bytes));
  if (assignment.round_seed().size() != 32) {
    return absl::InvalidArgumentError(StrCat("round_seed has ",
                                             assignment.round_seed().size(),
                                             " bytes instead of 32"));
  }
  const absl::Time expires_at =
      absl::FromUnixMillis(assignment.expires_at_unix_milliseconds());
  if (now >= expires_at) {
    return absl::DeadlineExceededError(
        StrCat("expired at ", absl::FormatTime(expires_at, absl::UTCTimeZone()),
               "; this device's clock says ",
               absl::FormatTime(now, absl::UTCTimeZone())));
  }
  return absl::OkStatus();
}

absl::Status CheckAgainstTask(const v1::Assignment& assignment,
                              const v1::Task& task, const Digest& task_sha256,
                              const AssignmentPolicy& policy) {
  if (task.name() != assignment.task_id()) {
    return absl::FailedPreconditionError(
        StrCat("task_id is '", assignment.task_id(),
               "', the signed task's name is '", task.name(), "'"));
  }
  if (task.population() != policy.population) {
    return absl::FailedPreconditionError(
        StrCat("the task is for population '", task.population(),
               "', this device is in '", policy.population, "'"));
  }
  MLEDGE_RETURN_IF_ERROR(CheckSecure(assignment, task, task_sha256, policy));
  const absl::StatusOr<Digest> package =
      Digest::FromBytes(assignment.package().sha256());
  if (!package.ok()) return package.status();
  if (task.model().package_sha256() != package->ToHex()) {
    return absl::FailedPreconditionError(StrCat("package is ", package->ToHex(),
                                                ", the operator signed ",
                                                task.model().package_sha256()));
  }
  const bool training = assignment.kind() == v1::Assignment::TRAIN;
  if (training && assignment.round() < 1) {
    return absl::OutOfRangeError(
        StrCat("round is ", assignment.round(), "; rounds count from 1"));
  }
  if (!training) return absl::OkStatus();
  MLEDGE_RETURN_IF_ERROR(CheckLearningRate(assignment, task.local_training()));
  // A coordinator may ask for less than the operator allowed to leave the
  // device, never for more; unless the clip norm follows the updates, within a
  // range.
  const double clip_norm = task.local_training().clip_norm();
  // Of layers: CheckAgainstPrivacy, which knows their total.
  if (!task.privacy().layer_clip_norms().empty()) return absl::OkStatus();
  if (task.privacy().has_adaptive_clipping()) {
    const double change = task.privacy().adaptive_clipping().largest_change();
    return CheckWithin("clip_norm", assignment.clip_norm(), clip_norm / change,
                       clip_norm * change);
  }
  if (clip_norm > 0 && !(assignment.clip_norm() > 0)) {
    return absl::OutOfRangeError(
        StrCat("clip_norm is ", assignment.clip_norm(),
               " (no clipping); the task that the operator signed clips to ",
               clip_norm));
  }
  return CheckWithin("clip_norm", assignment.clip_norm(), 0, clip_norm);
}

absl::Status CheckAgainstPackage(const v1::Assignment& assignment,
                                 const ModelPackage& package) {
  const uint64_t wanted =
      static_cast<uint64_t>(package.layout->size()) * sizeof(float);
  if (assignment.parameters().size_in_bytes() != wanted) {
    return absl::FailedPreconditionError(StrCat(
        "parameters have ", assignment.parameters().size_in_bytes(),
        " bytes; the layout of package '", package.name, "' takes ", wanted));
  }
  if (!assignment.has_secure() || assignment.secure().has_grid()) {
    return absl::OkStatus();
  }
  if (assignment.kind() == v1::Assignment::EVALUATE) {
    return CheckResolved("shared_size", assignment.secure().shared_size(),
                         int64_t{0});
  }
  if (assignment.secure().shared_size() != package.layout->shared_size()) {
    return absl::FailedPreconditionError(
        StrCat("secure.shared_size is ", assignment.secure().shared_size(),
               "; an update over the layout of package '", package.name,
               "' has ", package.layout->shared_size(), " values"));
  }
  return absl::OkStatus();
}

absl::Status CheckAgainstPrivacy(const v1::Assignment& assignment,
                                 const PrivateTask& task) {
  if (!assignment.has_ledger()) {
    return absl::FailedPreconditionError(
        "the assignment of a private task shows no privacy ledger");
  }
  if (!task.layers.empty()) {
    MLEDGE_RETURN_IF_ERROR(CheckWithin("clip_norm", assignment.clip_norm(),
                                       task.clip_norm, task.clip_norm));
  }
  if (!assignment.has_secure()) return absl::OkStatus();
  const v1::SecureAssignment& secure = assignment.secure();
  MLEDGE_RETURN_IF_ERROR(
      CheckResolved("shared_size", secure.shared_size(), task.dimension));
  MLEDGE_RETURN_IF_ERROR(
      CheckResolved("value_bound", secure.value_bound(), task.value_bound));
  MLEDGE_RETURN_IF_ERROR(
      CheckResolved<int64_t>("weight_bound", secure.weight_bound(), 1));
  MLEDGE_RETURN_IF_ERROR(CheckResolved("value_bits", secure.value_bits(), 0));
  MLEDGE_RETURN_IF_ERROR(CheckResolved("clip_bit", secure.clip_bit(),
                                       task.count_noise.has_value()));
  MLEDGE_RETURN_IF_ERROR(CheckResolved(
      "grid.fraction_bits", secure.grid().fraction_bits(), task.fraction_bits));
  MLEDGE_RETURN_IF_ERROR(CheckResolved("grid.modulus_bits",
                                       secure.grid().modulus_bits(),
                                       task.modulus_bits.value_or(0)));
  MLEDGE_RETURN_IF_ERROR(CheckResolved(
      "grid.least_honest", secure.grid().least_honest(), task.least_honest));
  MLEDGE_RETURN_IF_ERROR(CheckResolved("grid.corrupt_fraction",
                                       secure.grid().corrupt_fraction(),
                                       task.corrupt_fraction));
  return Annotate(
      secagg::UpdateCodec::Create(MakeCodecOptions(secure)).status(), "secure");
}

absl::Status CheckVersionStatement(const v1::Assignment& assignment,
                                   const v1::VersionStatement& statement,
                                   const v1::Task& task,
                                   const ModelPackage& package) {
  if (statement.task_id() != assignment.task_id()) {
    return absl::FailedPreconditionError(
        StrCat("the version statement is about task '", statement.task_id(),
               "', not '", assignment.task_id(), "'"));
  }
  if (statement.package_sha256() != assignment.package().sha256()) {
    return absl::FailedPreconditionError(
        "the version statement is about another package");
  }
  if (statement.parameters_sha256() != assignment.parameters().sha256()) {
    return absl::FailedPreconditionError(
        "the version statement is about other parameters");
  }
  if (statement.layout_fingerprint() !=
      package.layout->fingerprint().ToBytes()) {
    return absl::FailedPreconditionError(
        StrCat("the version statement is about another layout than that of "
               "package '",
               package.name, "'"));
  }
  if (statement.version() < 0) {
    return absl::InvalidArgumentError(
        StrCat("the version statement's version is ", statement.version()));
  }
  // Every round that succeeds makes one version; what the operator signed ends
  // with the last one.
  const int64_t last = task.stop().rounds() -
                       (assignment.kind() == v1::Assignment::TRAIN ? 1 : 0);
  if (statement.version() > last) {
    return absl::OutOfRangeError(
        StrCat("the model's version is ", statement.version(),
               "; the task ends with ", task.stop().rounds(), " rounds"));
  }
  if (statement.version() == 0 &&
      statement.parameters_sha256() !=
          package.initial_parameters.ContentHash().ToBytes()) {
    return absl::FailedPreconditionError(
        "version 0 is not the package's initial parameters, which the "
        "model-signer signed");
  }
  return absl::OkStatus();
}

}  // namespace mledge
