#ifndef MLEDGE_TESTS_CLIENT_SESSION_WORLD_H_
#define MLEDGE_TESTS_CLIENT_SESSION_WORLD_H_

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "mledge/client/device_session.h"
#include "mledge/client/memory_store.h"
#include "mledge/client/package_cache.h"
#include "mledge/core/sha256.h"
#include "mledge/identity/signing.h"
#include "mledge/model/package_file.h"
#include "mledge/privacy/ledger/ledger.h"
#include "mledge/task/validation.h"
#include "mledge/tests/support/fake_trainer.h"
#include "mledge/tests/support/test_pki.h"
#include "mledge/v1/device_service.pb.h"

// What a coordinator would have and hand out: a signed task, a package, its
// parameters, version statements, and assignments made of them. Tests bend what
// they need. Not thread-safe while it is bent.

namespace mledge {

inline std::string ParameterBytes(const ParameterVector& parameters) {
  const std::span<const float> values = parameters.values();
  return std::string(reinterpret_cast<const char*>(values.data()),
                     values.size_bytes());
}

// Who signs what. Making keys takes longer than most tests.
struct SessionSigners {
  explicit SessionSigners(absl::Time now)
      : pki(now),
        operator_signer(pki.MakeSigner(Role::kOperator, "alice")),
        model_signer(pki.MakeSigner(Role::kModelSigner, "models")),
        coordinator_signer(pki.MakeSigner(Role::kCoordinator, "main")) {}

  // Made once a process, at the time where FakeClock starts.
  static const std::shared_ptr<const SessionSigners>& Shared() {
    static const auto& signers =
        *new auto(std::make_shared<const SessionSigners>(
            absl::FromUnixSeconds(1767225600)));
    return signers;
  }

  const TestPki pki;
  const Signer operator_signer;
  const Signer model_signer;
  const Signer coordinator_signer;
};

class SessionWorld {
 public:
  using Blob = std::shared_ptr<const std::string>;

  SessionWorld() : SessionWorld(SessionSigners::Shared()) {}
  explicit SessionWorld(std::shared_ptr<const SessionSigners> who)
      : signers(std::move(who)),
        pki(signers->pki),
        operator_signer(signers->operator_signer),
        model_signer(signers->model_signer),
        coordinator_signer(signers->coordinator_signer),
        now(pki.now()),
        package(MakeFakePackage(8)) {
    package_digest = Put(SerializePackageFile(package, model_signer).value());
    task.set_name("task-1");
    task.mutable_model()->set_package_sha256(package_digest.ToHex());
    task.mutable_local_training()->mutable_sgd()->set_learning_rate(0.5);
    task.mutable_local_training()->set_epochs(2);
    task.mutable_local_training()->set_batch_size(2);
    task.mutable_cohort()->set_size(1);
    task.mutable_secure_aggregation()->set_mode(v1::SecureAggregation::OFF);
    task.mutable_stop()->set_rounds(10);
  }

  // From now on the task has secure aggregation among so many devices.
  void MakeSecure(int64_t devices) {
    task.mutable_cohort()->set_size(devices);
    task.mutable_secure_aggregation()->set_mode(v1::SecureAggregation::ON);
  }

  // From now on the task is private, with central noise: ten rounds, a device
  // in two of them, three apart.
  void MakePrivate() {
    task.mutable_local_training()->set_clip_norm(0.5);
    task.mutable_aggregation()->set_weighting(v1::Aggregation::UNIFORM);
    task.mutable_cohort()->set_size(100);
    v1::Privacy& privacy = *task.mutable_privacy();
    privacy.set_mechanism(v1::Privacy::CENTRAL);
    privacy.set_target_epsilon(2);
    privacy.set_delta(1e-6);
    privacy.set_population_size(1000);
    privacy.set_participations(2);
    privacy.set_separation(3);
  }

  // The coordinator's privacy ledger of the task, as an assignment shows it to
  // a device that knows the first `known` of its entries. Ledgers of other
  // lines have other entries.
  v1::AssignmentLedger ShowLedger(const Digest& task_sha256, int64_t entries,
                                  int64_t known,
                                  std::string_view line = "line") const {
    v1::AssignmentLedger shown;
    LedgerHead head = EmptyLedgerHead(task_sha256);
    for (int64_t sequence = 1; sequence <= entries; ++sequence) {
      const Digest entry = Sha256Of(StrCat(line, sequence));
      head = ExtendLedger(head, sequence, entry);
      if (sequence <= known) continue;
      v1::AssignmentLedger::Link& link = *shown.add_links();
      link.set_sequence(sequence);
      link.set_entry_sha256(entry.ToBytes());
    }
    v1::LedgerHead message;
    message.set_task_sha256(task_sha256.ToBytes());
    message.set_sequence(head.sequence);
    message.set_hash(head.hash.ToBytes());
    *shown.mutable_head() = coordinator_signer.Sign(
        kLedgerHeadContext, message.SerializeAsString());
    return shown;
  }

  // Makes the blob fetchable.
  Digest Put(std::string bytes) {
    const Digest digest = Sha256Of(bytes);
    blobs[digest] = std::make_shared<const std::string>(std::move(bytes));
    return digest;
  }
  void PutInto(v1::Blob* blob, std::string bytes) {
    blob->set_size_in_bytes(bytes.size());
    blob->set_sha256(Put(std::move(bytes)).ToBytes());
  }
  std::string SignTask(const v1::Task& what, const Signer& signer) const {
    return signer.Sign(kTaskContext, what.SerializeAsString())
        .SerializeAsString();
  }
  v1::SignedMessage SignVersion(const v1::VersionStatement& statement) const {
    return coordinator_signer.Sign(kModelVersionContext,
                                   statement.SerializeAsString());
  }

  v1::VersionStatement Statement(const v1::Assignment& assignment,
                                 int64_t version) const {
    v1::VersionStatement statement;
    statement.set_task_id(assignment.task_id());
    statement.set_version(version);
    statement.set_parameters_sha256(assignment.parameters().sha256());
    statement.set_package_sha256(assignment.package().sha256());
    statement.set_layout_fingerprint(package.layout->fingerprint().ToBytes());
    return statement;
  }

  // A proper assignment of the task as it is now, for the package's initial
  // parameters.
  v1::Assignment MakeAssignment(
      int64_t round = 1, v1::Assignment::Kind kind = v1::Assignment::TRAIN) {
    v1::Task complete = task;
    const absl::Status valid = ValidateTask(&complete);
    if (!valid.ok()) throw std::runtime_error(std::string(valid.message()));
    v1::Assignment assignment;
    assignment.set_assignment_id(
        StrCat("a", round, kind == v1::Assignment::TRAIN ? "" : "e"));
    assignment.set_task_id(task.name());
    assignment.set_round(round);
    assignment.set_kind(kind);
    assignment.set_ordinal(round - 1);
    assignment.set_expires_at_unix_milliseconds(
        absl::ToUnixMillis(now + absl::Minutes(10)));
    assignment.set_protocol_version(kProtocolVersion);
    // Signed once, as at submission: another signature is another blob.
    std::string& signed_task = signed_tasks_[complete.SerializeAsString()];
    if (signed_task.empty()) signed_task = SignTask(complete, operator_signer);
    PutInto(assignment.mutable_signed_task(), signed_task);
    PutInto(assignment.mutable_package(), *blobs.at(package_digest));
    PutInto(assignment.mutable_parameters(),
            ParameterBytes(package.initial_parameters));
    *assignment.mutable_version_statement() =
        SignVersion(Statement(assignment, 0));
    assignment.set_learning_rate(task.local_training().sgd().learning_rate());
    assignment.set_clip_norm(task.local_training().clip_norm());
    assignment.set_round_seed(std::string(32, 's'));
    if (complete.privacy().mechanism() != v1::Privacy::NONE &&
        kind == v1::Assignment::TRAIN) {
      *assignment.mutable_ledger() = ShowLedger(
          Sha256Of(complete.SerializeAsString()), /*entries=*/1, /*known=*/0);
    }
    const bool training = kind == v1::Assignment::TRAIN;
    if (complete.secure_aggregation().mode() == v1::SecureAggregation::ON &&
        (training ||
         complete.evaluation().where() == v1::Evaluation::DEVICES)) {
      v1::SecureAssignment& secure = *assignment.mutable_secure();
      secure.set_task_sha256(Sha256Of(complete.SerializeAsString()).ToBytes());
      secure.set_shared_size(training ? package.layout->shared_size() : 0);
      secure.set_value_bound(complete.aggregation().value_bound());
      secure.set_weight_bound(complete.aggregation().weight_bound());
      secure.set_uniform_weight(complete.aggregation().weighting() ==
                                v1::Aggregation::UNIFORM);
      secure.set_maximum_updates(training ? complete.cohort().size()
                                          : complete.evaluation().devices());
      secure.set_value_bits(complete.secure_aggregation().value_bits());
      secure.set_semi_honest(complete.secure_aggregation().threat_model() ==
                             v1::SecureAggregation::SEMI_HONEST);
    }
    return assignment;
  }

  TrustedSigners trusted() const {
    return {.root_pem = pki.root_pem(),
            .operators = {"alice"},
            .model_signers = {"models"}};
  }
  std::shared_ptr<PackageCache> MakeCache() const {
    return PackageCache::Create({.trusted = trusted()}).value();
  }
  DeviceSession::Options MakeSessionOptions() const {
    DeviceSession::Options options;
    options.device = DeviceId("device-1");
    options.software = "test";
    return options;
  }

  // Six examples of four values.
  static std::unique_ptr<MemoryStore> MakeExamples() {
    MemoryStore::Contents contents;
    contents.input.shape = {4};
    contents.classes = 2;
    for (int i = 0; i < 24; ++i) {
      contents.inputs.push_back(static_cast<float>((i * 7) % 11) / 4 - 1);
    }
    contents.class_labels = {0, 1, 0, 1, 0, 1};
    return MemoryStore::Create(std::move(contents)).value();
  }

  const std::shared_ptr<const SessionSigners> signers;
  const TestPki& pki;
  const Signer& operator_signer;
  const Signer& model_signer;
  const Signer& coordinator_signer;
  absl::Time now;
  ModelPackage package;
  Digest package_digest;
  v1::Task task;
  std::map<Digest, Blob> blobs;

 private:
  std::map<std::string, std::string> signed_tasks_;
};

inline v1::CheckInResponse Handing(const v1::Assignment& assignment) {
  v1::CheckInResponse response;
  *response.mutable_assignment() = assignment;
  return response;
}
inline v1::CheckInResponse ComeBackAfter(absl::Duration pause) {
  v1::CheckInResponse response;
  response.mutable_come_back()->set_after_milliseconds(
      absl::ToInt64Milliseconds(pause));
  return response;
}
inline v1::UploadResult Outcome(v1::UploadResult::Outcome outcome) {
  v1::UploadResult result;
  result.set_outcome(outcome);
  return result;
}

// The effects of that kind, in order.
template <typename T>
std::vector<T> All(const Effects& effects) {
  std::vector<T> found;
  for (const Effect& effect : effects) {
    if (const T* match = std::get_if<T>(&effect)) found.push_back(*match);
  }
  return found;
}
template <typename T>
bool Has(const Effects& effects) {
  return !All<T>(effects).empty();
}
// The one effect of that kind.
template <typename T>
T Only(const Effects& effects) {
  const std::vector<T> found = All<T>(effects);
  if (found.size() != 1) {
    throw std::runtime_error(
        StrCat("expected one effect of a kind, got ", found.size()));
  }
  return found.front();
}

}  // namespace mledge

#endif  // MLEDGE_TESTS_CLIENT_SESSION_WORLD_H_
