#ifndef MLEDGE_CLIENT_PACKAGE_CACHE_H_
#define MLEDGE_CLIENT_PACKAGE_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/client/privacy_ledger.h"
#include "mledge/core/mutex.h"
#include "mledge/core/parameters.h"
#include "mledge/core/sha256.h"
#include "mledge/identity/signing.h"
#include "mledge/model/package.h"
#include "mledge/privacy/plan/private_task.h"
#include "mledge/v1/device_service.pb.h"
#include "mledge/v1/model.pb.h"
#include "mledge/v1/signature.pb.h"
#include "mledge/v1/task.pb.h"

// What a device has verified, by content hash: tasks, packages, statements
// about versions, and the parameters of a version as a vector. Because
// everything is named by its content, one cache serves all devices that trust
// the same signers: the simulator's thousands verify a package once. A
// verification counts until a certificate in its chain ends. Thread-safe.

namespace mledge {

// Whom a device believes: from its own configuration.
struct TrustedSigners {
  std::string root_pem;
  std::vector<std::string> operators;
  std::vector<std::string> model_signers;
};

// A task as its operator signed it.
struct VerifiedTask {
  std::shared_ptr<const v1::Task> task;
  // SHA-256 of the signed payload: how the registrar names the task.
  Digest payload_sha256;
};

class PackageCache {
 public:
  struct Options {
    TrustedSigners trusted;
    // Parameter vectors kept although nobody uses them at the moment, newest
    // first. A device needs none; the simulator keeps the current version.
    size_t parameters_kept = 0;
    // Tasks, packages and statements kept, each.
    size_t entries_kept = 16;
    // Of private tasks that are simulated (PrivateTaskOptions).
    int64_t noise_cohort = 0;
  };

  // INVALID_ARGUMENT: no operator or no model-signer is trusted, or the root is
  // not a certificate.
  static absl::StatusOr<std::shared_ptr<PackageCache>> Create(Options options);

  // `bytes` must have the SHA-256 `digest`: whoever fetched them has compared.

  // A serialized SignedMessage with context "task". PERMISSION_DENIED: signer
  // not trusted. INVALID_ARGUMENT: malformed, or a task that does not pass
  // ValidateTask.
  absl::StatusOr<VerifiedTask> Task(const Digest& digest,
                                    std::string_view bytes, absl::Time now);
  // A package file. PERMISSION_DENIED: its model-signer is not trusted.
  // INVALID_ARGUMENT: malformed.
  absl::StatusOr<std::shared_ptr<const ModelPackage>> Package(
      const Digest& digest, std::string_view bytes, absl::Time now);
  // Context "model-version", signed by any coordinator of this root.
  // PERMISSION_DENIED, INVALID_ARGUMENT.
  absl::StatusOr<v1::VersionStatement> Version(const v1::SignedMessage& message,
                                               absl::Time now);
  // What an assignment says of the coordinator's privacy ledger, its signatures
  // verified: of the head by any coordinator of this root, of the adoption by
  // an operator that this device trusts. PERMISSION_DENIED, INVALID_ARGUMENT.
  absl::StatusOr<ShownLedger> Ledger(const v1::AssignmentLedger& ledger,
                                     absl::Time now) const;
  // The numbers of a private task (privacy/plan/private_task.h), whose search
  // takes a moment. Null: the task is not private. Codes of ResolvePrivateTask.
  // `task`: SHA-256 of its signed payload.
  absl::StatusOr<std::shared_ptr<const PrivateTask>> Privacy(
      const Digest& task, const v1::Task& message,
      const ParameterLayout& layout);
  // ClaimOf of all its participations, worked out once. Codes of ClaimOf.
  absl::StatusOr<v1::PrivacyClaim> Claim(const Digest& task,
                                         const PrivateTask& resolved,
                                         Observer observer);
  // Little-endian float32 of the whole flat vector. INVALID_ARGUMENT: size
  // differs from the layout's, or a value is NaN or infinite.
  absl::StatusOr<std::shared_ptr<const ParameterVector>> Parameters(
      const Digest& digest, std::string_view bytes,
      const std::shared_ptr<const ParameterLayout>& layout);

 private:
  // The `entries_kept` values used last.
  template <typename T>
  class Recent {
   public:
    std::optional<T> Find(const Digest& digest, absl::Time now);
    void Insert(const Digest& digest, T value, absl::Time valid_until,
                size_t kept);

   private:
    struct Entry {
      Digest digest;
      T value;
      absl::Time valid_until;
    };
    std::list<Entry> entries_;
  };

  struct Verifiers {
    SignatureVerifier tasks;
    SignatureVerifier packages;
    SignatureVerifier versions;
    SignatureVerifier ledger_heads;
    SignatureVerifier adoptions;
  };

  PackageCache(Options options, Verifiers verifiers);

  const Options options_;
  const Verifiers verifiers_;

  Mutex mutex_;
  Recent<VerifiedTask> tasks_ ABSL_GUARDED_BY(mutex_);
  Recent<std::shared_ptr<const ModelPackage>> packages_ ABSL_GUARDED_BY(mutex_);
  Recent<v1::VersionStatement> versions_ ABSL_GUARDED_BY(mutex_);
  Recent<std::shared_ptr<const PrivateTask>> private_tasks_
      ABSL_GUARDED_BY(mutex_);
  Recent<v1::PrivacyClaim> claims_ ABSL_GUARDED_BY(mutex_);
  Recent<std::shared_ptr<const ParameterVector>> parameters_
      ABSL_GUARDED_BY(mutex_);
  std::map<Digest, std::weak_ptr<const ParameterVector>> live_parameters_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_PACKAGE_CACHE_H_
