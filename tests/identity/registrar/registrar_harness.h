#ifndef MLEDGE_TESTS_IDENTITY_REGISTRAR_REGISTRAR_HARNESS_H_
#define MLEDGE_TESTS_IDENTITY_REGISTRAR_REGISTRAR_HARNESS_H_

#include <memory>
#include <string>
#include <utility>

#include "mledge/core/secret_random.h"
#include "mledge/core/strings.h"
#include "mledge/identity/certificate_signing_request.h"
#include "mledge/identity/registrar/memory_registrar_storage.h"
#include "mledge/identity/registrar/registrar.h"
#include "mledge/tests/support/test_pki.h"

// A registrar on a storage of the test's, and the people who call it. Its keys
// outlive a restart.

namespace mledge {

inline Digest DigestOf(const std::string& text) {
  return Sha256Of(std::string_view(text));
}

class RegistrarHarness {
 public:
  explicit RegistrarHarness(absl::Time now = absl::FromUnixSeconds(1767225600))
      : pki_(now), witness_key_(WitnessKey::Generate(random_)) {
    options_.operators = {"alice"};
    options_.coordinators = {"main"};
  }

  absl::StatusOr<std::unique_ptr<Registrar>> Start(RegistrarStorage* storage) {
    return Registrar::Create(options_, {.authority = pki_.registrar(),
                                        .witness_key = witness_key_,
                                        .storage = storage,
                                        .random = &random_});
  }
  const TestPki& pki() const { return pki_; }
  absl::Time now() const { return pki_.now(); }
  const WitnessPublicKey& public_key() const {
    return witness_key_.public_key();
  }
  const WitnessKey& witness_key() const { return witness_key_; }
  Registrar::Options& options() { return options_; }

  static RegistrarCaller Caller(Role role, const std::string& id) {
    return {{role, id}, StrCat("serial of ", id)};
  }
  static RegistrarCaller Operator() { return Caller(Role::kOperator, "alice"); }
  static RegistrarCaller Coordinator() {
    return Caller(Role::kCoordinator, "main");
  }
  static std::string Csr(Role role, const std::string& id) {
    return CreateCertificateSigningRequest(PrivateKey::Generate(), {role, id});
  }

 private:
  SystemSecretRandom random_;
  const TestPki pki_;
  const WitnessKey witness_key_;
  Registrar::Options options_;
};

// Passes on to another storage, and fails on purpose: the `n`th commit from now
// on (from 0) happens or not, its caller hears an error, and nothing works any
// more until Restart.
class FaultyRegistrarStorage final : public RegistrarStorage {
 public:
  explicit FaultyRegistrarStorage(RegistrarStorage* inner) : inner_(inner) {}

  void CrashAt(int64_t n, bool happens) {
    crash_at_ = commits_ + n;
    happens_ = happens;
  }
  void Restart() {
    crashed_ = false;
    crash_at_ = -1;
  }
  bool crashed() const { return crashed_; }
  int64_t commits() const { return commits_; }

  absl::Status Commit(const RegistrarTransaction& transaction) override {
    if (crashed_) return Dead();
    if (commits_++ == crash_at_) {
      crashed_ = true;
      if (happens_) inner_->Commit(transaction).IgnoreError();
      return Dead();
    }
    return inner_->Commit(transaction);
  }
  absl::StatusOr<std::optional<WitnessedTask>> FindTask(
      const Digest& task) override {
    if (crashed_) return Dead();
    return inner_->FindTask(task);
  }
  absl::StatusOr<std::optional<WitnessStatement>> FindStatement(
      const Digest& task, uint64_t session_number) override {
    if (crashed_) return Dead();
    return inner_->FindStatement(task, session_number);
  }
  absl::StatusOr<std::optional<SetsStatement>> FindSetsStatement(
      const Digest& task, uint64_t session_number, uint32_t group) override {
    if (crashed_) return Dead();
    return inner_->FindSetsStatement(task, session_number, group);
  }
  absl::StatusOr<std::optional<StoredVersionLogHead>> FindVersionLogHead(
      const Digest& task) override {
    if (crashed_) return Dead();
    return inner_->FindVersionLogHead(task);
  }
  absl::StatusOr<std::optional<IssuedCertificate>> FindIssued(
      const std::string& serial) override {
    if (crashed_) return Dead();
    return inner_->FindIssued(serial);
  }
  absl::StatusOr<std::vector<IssuedCertificate>> ListIssued(
      const IssuedQuery& query) override {
    if (crashed_) return Dead();
    return inner_->ListIssued(query);
  }
  absl::StatusOr<std::vector<Revocation>> ListRevocations() override {
    if (crashed_) return Dead();
    return inner_->ListRevocations();
  }
  absl::StatusOr<bool> IsRevoked(const std::string& serial,
                                 const Identity& identity) override {
    if (crashed_) return Dead();
    return inner_->IsRevoked(serial, identity);
  }
  absl::StatusOr<std::optional<StoredRevocationList>> FindRevocationList()
      override {
    if (crashed_) return Dead();
    return inner_->FindRevocationList();
  }
  absl::StatusOr<std::optional<EnrollmentToken>> FindToken(
      const Digest& token_sha256) override {
    if (crashed_) return Dead();
    return inner_->FindToken(token_sha256);
  }

 private:
  static absl::Status Dead() {
    return absl::UnavailableError("the process has died");
  }

  RegistrarStorage* const inner_;
  int64_t commits_ = 0;
  int64_t crash_at_ = -1;
  bool happens_ = false;
  bool crashed_ = false;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_IDENTITY_REGISTRAR_REGISTRAR_HARNESS_H_
