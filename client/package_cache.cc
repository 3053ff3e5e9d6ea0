#include "mledge/client/package_cache.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "mledge/aggregation/secagg/hadamard.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/certificate.h"
#include "mledge/model/package_file.h"
#include "mledge/task/validation.h"

namespace mledge {
namespace {

// When the first certificate of a verified statement ends.
absl::Time ValidUntil(const v1::SignedMessage& message) {
  absl::Time until = absl::InfiniteFuture();
  for (const std::string& der : message.certificates()) {
    const absl::StatusOr<Certificate> certificate = Certificate::FromDer(der);
    if (!certificate.ok()) return absl::InfinitePast();
    until = std::min(until, certificate->not_after());
  }
  return until;
}

// The signed header of a package file that has been parsed successfully.
absl::Time PackageValidUntil(std::string_view bytes) {
  constexpr size_t kPrefix = 8 + 4 + 8;
  uint64_t header_size = 0;
  if (bytes.size() < kPrefix) return absl::InfinitePast();
  std::memcpy(&header_size, bytes.data() + 12, sizeof(header_size));
  if (header_size > bytes.size() - kPrefix) return absl::InfinitePast();
  v1::SignedMessage message;
  if (!message.ParseFromArray(bytes.data() + kPrefix,
                              static_cast<int>(header_size))) {
    return absl::InfinitePast();
  }
  return ValidUntil(message);
}

absl::Status Unparsable(std::string_view what) {
  return absl::InvalidArgumentError(StrCat("the ", what, " cannot be parsed"));
}

}  // namespace

template <typename T>
std::optional<T> PackageCache::Recent<T>::Find(const Digest& digest,
                                               absl::Time now) {
  const auto entry =
      std::find_if(entries_.begin(), entries_.end(),
                   [&](const Entry& e) { return e.digest == digest; });
  if (entry == entries_.end()) return std::nullopt;
  if (now >= entry->valid_until) {
    entries_.erase(entry);
    return std::nullopt;
  }
  entries_.splice(entries_.begin(), entries_, entry);
  return entry->value;
}

template <typename T>
void PackageCache::Recent<T>::Insert(const Digest& digest, T value,
                                     absl::Time valid_until, size_t kept) {
  entries_.remove_if([&](const Entry& e) { return e.digest == digest; });
  entries_.push_front({digest, std::move(value), valid_until});
  while (entries_.size() > kept) entries_.pop_back();
}

absl::StatusOr<std::shared_ptr<PackageCache>> PackageCache::Create(
    Options options) {
  const TrustedSigners& trusted = options.trusted;
  const auto by = [&](std::string_view context, Role role,
                      const std::vector<std::string>& ids) {
    return SignatureVerifier::Create(trusted.root_pem,
                                     {.context = std::string(context),
                                      .role = role,
                                      .trusted_ids = ids,
                                      .any_id = role == Role::kCoordinator});
  };
  absl::StatusOr<SignatureVerifier> tasks =
      by(kTaskContext, Role::kOperator, trusted.operators);
  if (!tasks.ok()) return Annotate(tasks.status(), "trusted_operators");
  absl::StatusOr<SignatureVerifier> packages =
      by(kPackageContext, Role::kModelSigner, trusted.model_signers);
  if (!packages.ok()) {
    return Annotate(packages.status(), "trusted_model_signers");
  }
  MLEDGE_ASSIGN_OR_RETURN(SignatureVerifier versions,
                          by(kModelVersionContext, Role::kCoordinator, {}));
  MLEDGE_ASSIGN_OR_RETURN(SignatureVerifier ledger_heads,
                          by(kLedgerHeadContext, Role::kCoordinator, {}));
  MLEDGE_ASSIGN_OR_RETURN(
      SignatureVerifier adoptions,
      by(kLedgerAdoptionContext, Role::kOperator, trusted.operators));
  return std::shared_ptr<PackageCache>(new PackageCache(
      std::move(options), {.tasks = *std::move(tasks),
                           .packages = *std::move(packages),
                           .versions = std::move(versions),
                           .ledger_heads = std::move(ledger_heads),
                           .adoptions = std::move(adoptions)}));
}

PackageCache::PackageCache(Options options, Verifiers verifiers)
    : options_(std::move(options)), verifiers_(std::move(verifiers)) {}

// Verifying happens outside the lock: two threads may do it at once for the
// same content, and come to the same result.

absl::StatusOr<VerifiedTask> PackageCache::Task(const Digest& digest,
                                                std::string_view bytes,
                                                absl::Time now) {
  {
    MutexLock lock(&mutex_);
    if (auto known = tasks_.Find(digest, now)) return *std::move(known);
  }
  v1::SignedMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Unparsable("signed task");
  }
  MLEDGE_RETURN_IF_ERROR(
      Annotate(verifiers_.tasks.Verify(message, now).status(), "task"));
  auto task = std::make_shared<v1::Task>();
  if (!task->ParseFromString(message.payload())) return Unparsable("task");
  MLEDGE_RETURN_IF_ERROR(Annotate(ValidateTask(task.get()), "task"));
  const VerifiedTask verified = {.task = std::move(task),
                                 .payload_sha256 = Sha256Of(message.payload())};
  MutexLock lock(&mutex_);
  tasks_.Insert(digest, verified, ValidUntil(message), options_.entries_kept);
  return verified;
}

absl::StatusOr<std::shared_ptr<const ModelPackage>> PackageCache::Package(
    const Digest& digest, std::string_view bytes, absl::Time now) {
  {
    MutexLock lock(&mutex_);
    if (auto known = packages_.Find(digest, now)) return *std::move(known);
  }
  absl::StatusOr<PackageFile> file =
      ParsePackageFile(bytes, verifiers_.packages, now);
  if (!file.ok()) return Annotate(file.status(), "model package");
  auto package = std::make_shared<const ModelPackage>(std::move(file->package));
  MutexLock lock(&mutex_);
  packages_.Insert(digest, package, PackageValidUntil(bytes),
                   options_.entries_kept);
  return package;
}

absl::StatusOr<v1::VersionStatement> PackageCache::Version(
    const v1::SignedMessage& message, absl::Time now) {
  const Digest digest = Sha256Of(message.SerializeAsString());
  {
    MutexLock lock(&mutex_);
    if (auto known = versions_.Find(digest, now)) return *std::move(known);
  }
  MLEDGE_RETURN_IF_ERROR(Annotate(
      verifiers_.versions.Verify(message, now).status(), "version statement"));
  v1::VersionStatement statement;
  if (!statement.ParseFromString(message.payload())) {
    return Unparsable("version statement");
  }
  MutexLock lock(&mutex_);
  versions_.Insert(digest, statement, ValidUntil(message),
                   options_.entries_kept);
  return statement;
}

absl::StatusOr<ShownLedger> PackageCache::Ledger(
    const v1::AssignmentLedger& ledger, absl::Time now) const {
  ShownLedger shown;
  shown.signed_head = ledger.head();
  MLEDGE_RETURN_IF_ERROR(
      Annotate(verifiers_.ledger_heads.Verify(ledger.head(), now).status(),
               "head of the privacy ledger"));
  if (!shown.head.ParseFromString(ledger.head().payload())) {
    return Unparsable("head of the privacy ledger");
  }
  for (const v1::AssignmentLedger::Link& link : ledger.links()) {
    mledge::Ledger::Link& added = shown.links.emplace_back();
    added.sequence = link.sequence();
    MLEDGE_ASSIGN_OR_RETURN(added.entry,
                            Digest::FromBytes(link.entry_sha256()));
  }
  if (ledger.has_adoption()) {
    MLEDGE_RETURN_IF_ERROR(
        Annotate(verifiers_.adoptions.Verify(ledger.adoption(), now).status(),
                 "adoption of the privacy ledger"));
    if (!shown.adoption.emplace().ParseFromString(
            ledger.adoption().payload())) {
      return Unparsable("adoption of the privacy ledger");
    }
  }
  return shown;
}

absl::StatusOr<std::shared_ptr<const PrivateTask>> PackageCache::Privacy(
    const Digest& task, const v1::Task& message,
    const ParameterLayout& layout) {
  if (message.privacy().mechanism() <= v1::Privacy::NONE) return nullptr;
  const Digest key = Sha256()
                         .Update(task.ToBytes())
                         .Update(layout.fingerprint().ToBytes())
                         .Finish();
  {
    MutexLock lock(&mutex_);
    if (auto known = private_tasks_.Find(key, absl::InfinitePast())) {
      return *std::move(known);
    }
  }
  if (options_.noise_cohort == 0) {
    MLEDGE_RETURN_IF_ERROR(CheckCanBeKept(message));
  }
  MLEDGE_ASSIGN_OR_RETURN(
      const int64_t rotated_size,
      secagg::HadamardRotation::PaddedSize(layout.shared_size()));
  MLEDGE_ASSIGN_OR_RETURN(
      PrivateTask resolved,
      ResolvePrivateTask(message, layout,
                         {.rotated_size = rotated_size,
                          .noise_cohort = options_.noise_cohort}));
  auto shared = std::make_shared<const PrivateTask>(std::move(resolved));
  MutexLock lock(&mutex_);
  private_tasks_.Insert(key, shared, absl::InfiniteFuture(),
                        options_.entries_kept);
  return shared;
}

absl::StatusOr<v1::PrivacyClaim> PackageCache::Claim(
    const Digest& task, const PrivateTask& resolved, Observer observer) {
  const Digest key = Sha256()
                         .Update(task.ToBytes())
                         .UpdateU64(static_cast<uint64_t>(resolved.dimension))
                         .UpdateU64(static_cast<uint64_t>(observer))
                         .Finish();
  {
    MutexLock lock(&mutex_);
    if (auto known = claims_.Find(key, absl::InfinitePast())) {
      return *std::move(known);
    }
  }
  MLEDGE_ASSIGN_OR_RETURN(
      v1::PrivacyClaim claim,
      ClaimOf(resolved, observer, resolved.limits.participations));
  MutexLock lock(&mutex_);
  claims_.Insert(key, claim, absl::InfiniteFuture(), options_.entries_kept);
  return claim;
}

absl::StatusOr<std::shared_ptr<const ParameterVector>> PackageCache::Parameters(
    const Digest& digest, std::string_view bytes,
    const std::shared_ptr<const ParameterLayout>& layout) {
  {
    MutexLock lock(&mutex_);
    const auto live = live_parameters_.find(digest);
    if (live != live_parameters_.end()) {
      std::shared_ptr<const ParameterVector> known = live->second.lock();
      if (known != nullptr &&
          known->layout()->fingerprint() == layout->fingerprint()) {
        return known;
      }
    }
  }
  if (bytes.size() != static_cast<size_t>(layout->size()) * sizeof(float)) {
    return absl::InvalidArgumentError(
        StrCat("parameters have ", bytes.size(), " bytes; the layout takes ",
               layout->size(), " values of 4 bytes"));
  }
  auto vector = std::make_shared<ParameterVector>(layout);
  std::memcpy(vector->values().data(), bytes.data(), bytes.size());
  if (const std::optional<size_t> position = FindNonFinite(vector->values())) {
    return absl::InvalidArgumentError(
        StrCat("parameter ", *position, " is ", vector->values()[*position],
               "; this version of the model is unusable"));
  }
  MutexLock lock(&mutex_);
  std::erase_if(live_parameters_,
                [](const auto& entry) { return entry.second.expired(); });
  live_parameters_[digest] = vector;
  parameters_.Insert(digest, vector, absl::InfiniteFuture(),
                     options_.parameters_kept);
  return std::shared_ptr<const ParameterVector>(std::move(vector));
}

}  // namespace mledge
