#include "mledge/client/package_cache.h"

#include <algorithm>
#include <cstring>
#include <iterator>

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
  absl::StatusOr<SignatureVerifier> tasks = SignatureVerifier::Create(
      trusted.root_pem, {.context = std::string(kTaskContext),
                         .role = Role::kOperator,
                         .trusted_ids = trusted.operators});
  if (!tasks.ok()) return Annotate(tasks.status(), "trusted_operators");
  absl::StatusOr<SignatureVerifier> packages = SignatureVerifier::Create(
      trusted.root_pem, {.context = std::string(kPackageContext),
                         .role = Role::kModelSigner,
                         .trusted_ids = trusted.model_signers});
  if (!packages.ok()) {
    return Annotate(packages.status(), "trusted_model_signers");
  }
  absl::StatusOr<SignatureVerifier> versions = SignatureVerifier::Create(
      trusted.root_pem, {.context = std::string(kModelVersionContext),
                         .role = Role::kCoordinator,
                         .trusted_ids = {},
                         .any_id = true});
  if (!versions.ok()) return versions.status();
  return std::shared_ptr<PackageCache>(
      new PackageCache(std::move(options), *std::move(tasks),
                       *std::move(packages), *std::move(versions)));
}

PackageCache::PackageCache(Options options, SignatureVerifier tasks,
                           SignatureVerifier packages,
                           SignatureVerifier versions)
    : options_(std::move(options)),
      task_verifier_(std::move(tasks)),
      package_verifier_(std::move(packages)),
      version_verifier_(std::move(versions)) {}

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
      Annotate(task_verifier_.Verify(message, now).status(), "task"));
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
      ParsePackageFile(bytes, package_verifier_, now);
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
      version_verifier_.Verify(message, now).status(), "version statement"));
  v1::VersionStatement statement;
  if (!statement.ParseFromString(message.payload())) {
    return Unparsable("version statement");
  }
  MutexLock lock(&mutex_);
  versions_.Insert(digest, statement, ValidUntil(message),
                   options_.entries_kept);
  return statement;
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
