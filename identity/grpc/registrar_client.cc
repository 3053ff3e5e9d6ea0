#include "mledge/identity/grpc/registrar_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "mledge/core/executor.h"
#include "mledge/core/mutex.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/certificate_signing_request.h"
#include "mledge/identity/grpc/registrar_channel.h"
#include "mledge/v1/registrar_service.grpc.pb.h"

namespace mledge {
namespace {

using Stub = v1::RegistrarService::Stub;

void SetTimeout(grpc::ClientContext& context, absl::Duration timeout) {
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoMilliseconds(timeout));
}

class GrpcRegistrarClient final : public RegistrarClient {
 public:
  GrpcRegistrarClient(const Options& options, RegistrarChannel channel,
                      std::optional<WitnessPublicKey> witness_key)
      : timeout_(options.timeout),
        channel_(std::move(channel)),
        stub_(v1::RegistrarService::NewStub(channel_.channel)),
        witness_key_(std::move(witness_key)),
        pool_(std::make_unique<ThreadPool>(options.threads, "registrar")) {}

  ~GrpcRegistrarClient() override {
    {
      MutexLock lock(&mutex_);
      ending_ = true;
      for (grpc::ClientContext* context : open_) context->TryCancel();
    }
    pool_.reset();  // waits for what was scheduled
  }

  void WitnessDirectory(const Digest& task, uint64_t session_number,
                        const Digest& directory, DirectoryDone done) override {
    v1::WitnessDirectoryRequest request;
    request.set_task_sha256(task.ToBytes());
    request.set_session_number(session_number);
    request.set_directory_sha256(directory.ToBytes());
    pool_->Schedule([=, this, done = std::move(done)] {
      done([&]() -> absl::StatusOr<WitnessStatement> {
        MLEDGE_ASSIGN_OR_RETURN(const auto response,
                                Call<v1::WitnessDirectoryResponse>(
                                    &Stub::WitnessDirectory, request));
        MLEDGE_ASSIGN_OR_RETURN(
            WitnessStatement statement,
            Sound(WitnessStatement::FromProto(response.statement())));
        if (statement.task != task ||
            statement.session_number != session_number ||
            statement.directory != directory) {
          return Unsound("it witnessed something else than it was asked");
        }
        return statement;
      }());
    });
  }

  void WitnessSets(const Digest& task, uint64_t session_number, uint32_t group,
                   const Digest& session, const Digest& sets,
                   SetsDone done) override {
    v1::WitnessSetsRequest request;
    request.set_task_sha256(task.ToBytes());
    request.set_session_number(session_number);
    request.set_group(group);
    request.set_session_sha256(session.ToBytes());
    request.set_sets_sha256(sets.ToBytes());
    pool_->Schedule([=, this, done = std::move(done)] {
      done([&]() -> absl::StatusOr<SetsStatement> {
        MLEDGE_ASSIGN_OR_RETURN(
            const auto response,
            Call<v1::WitnessSetsResponse>(&Stub::WitnessSets, request));
        MLEDGE_ASSIGN_OR_RETURN(
            SetsStatement statement,
            Sound(SetsStatement::FromProto(response.statement())));
        if (statement.task != task ||
            statement.session_number != session_number ||
            statement.group != group || statement.session != session ||
            statement.sets != sets) {
          return Unsound("it witnessed something else than it was asked");
        }
        return statement;
      }());
    });
  }

  void AppendVersion(const Digest& task, uint64_t version, const Digest& entry,
                     VersionDone done) override {
    v1::AppendVersionRequest request;
    request.set_task_sha256(task.ToBytes());
    request.set_version(version);
    request.set_entry_sha256(entry.ToBytes());
    pool_->Schedule([=, this, done = std::move(done)] {
      done([&]() -> absl::StatusOr<VersionLogHead> {
        MLEDGE_ASSIGN_OR_RETURN(
            const auto response,
            Call<v1::AppendVersionResponse>(&Stub::AppendVersion, request));
        MLEDGE_ASSIGN_OR_RETURN(
            VersionLogHead head,
            Sound(VersionLogHead::FromProto(response.head())));
        if (head.task != task || head.length != version + 1) {
          return Unsound("it signed another log than it was asked for");
        }
        return head;
      }());
    });
  }

  absl::StatusOr<std::string> IssueCertificate(
      const std::string& csr_pem) override {
    v1::IssueCertificateRequest request;
    request.set_certificate_signing_request(csr_pem);
    MLEDGE_ASSIGN_OR_RETURN(
        auto response,
        Call<v1::IssueCertificateResponse>(&Stub::IssueCertificate, request));
    return std::move(*response.mutable_certificate_chain());
  }

  absl::StatusOr<v1::SignedMessage> GetRevocationList() override {
    MLEDGE_ASSIGN_OR_RETURN(auto response, Call<v1::GetRevocationListResponse>(
                                               &Stub::GetRevocationList,
                                               v1::GetRevocationListRequest()));
    return std::move(*response.mutable_revocation_list());
  }

  void FetchRevocationList(
      std::function<void(absl::StatusOr<v1::SignedMessage>)> done) override {
    pool_->Schedule(
        [this, done = std::move(done)] { done(GetRevocationList()); });
  }

  absl::StatusOr<uint64_t> Revoke(const v1::RevokeRequest& request) override {
    MLEDGE_ASSIGN_OR_RETURN(const auto response,
                            Call<v1::RevokeResponse>(&Stub::Revoke, request));
    return response.list_number();
  }

  absl::StatusOr<std::string> CreateEnrollmentToken(
      const Identity& identity, absl::Time expires_at) override {
    v1::CreateEnrollmentTokenRequest request;
    request.set_identity(identity.ToUri());
    request.set_expires_at_unix_milliseconds(absl::ToUnixMillis(expires_at));
    MLEDGE_ASSIGN_OR_RETURN(auto response,
                            Call<v1::CreateEnrollmentTokenResponse>(
                                &Stub::CreateEnrollmentToken, request));
    return std::move(*response.mutable_token());
  }

  absl::StatusOr<v1::ListIssuedResponse> ListIssued(
      const v1::ListIssuedRequest& request) override {
    return Call<v1::ListIssuedResponse>(&Stub::ListIssued, request);
  }

 private:
  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(
      grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                   Response*),
      const Request& request) {
    grpc::ClientContext context;
    SetTimeout(context, timeout_);
    {
      MutexLock lock(&mutex_);
      if (ending_) return absl::CancelledError("this client is ending");
      open_.insert(&context);
    }
    Response response;
    const grpc::Status status =
        (stub_.get()->*method)(&context, request, &response);
    {
      MutexLock lock(&mutex_);
      open_.erase(&context);
    }
    MLEDGE_RETURN_IF_ERROR(channel_.Explain(status));
    return response;
  }

  absl::Status Unsound(std::string_view why) const {
    return absl::DataLossError(
        StrCat("registrar ", channel_.address, ": ", why));
  }

  // A statement that no device would believe is no answer.
  template <typename T>
  absl::StatusOr<T> Sound(absl::StatusOr<T> statement) const {
    if (!statement.ok())
      return Unsound(ToStdView(statement.status().message()));
    if (!witness_key_.has_value()) {
      return absl::FailedPreconditionError(
          "this client was made without a witness key");
    }
    const absl::Status verified = statement->Verify(*witness_key_);
    if (!verified.ok()) {
      return Unsound(StrCat(
          verified.message(),
          "; compare registrar.witness_key with the registrar's witness.pub"));
    }
    return statement;
  }

  const absl::Duration timeout_;
  const RegistrarChannel channel_;
  const std::unique_ptr<Stub> stub_;
  const std::optional<WitnessPublicKey> witness_key_;
  Mutex mutex_;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<grpc::ClientContext*> open_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ThreadPool> pool_;
};

absl::StatusOr<std::unique_ptr<RegistrarClient>> MakeClient(
    const RegistrarClient::Options& options, const TlsIdentity& identity,
    std::optional<WitnessPublicKey> witness_key) {
  MLEDGE_ASSIGN_OR_RETURN(const Certificate root, ParseRoot(identity.root_pem));
  MLEDGE_ASSIGN_OR_RETURN(RegistrarChannel channel,
                          ConnectToRegistrar(options.address, options.name,
                                             {.root = root}, &identity));
  return std::make_unique<GrpcRegistrarClient>(options, std::move(channel),
                                               std::move(witness_key));
}

}  // namespace

absl::StatusOr<std::unique_ptr<RegistrarClient>> RegistrarClient::Create(
    Options options, const TlsIdentity& identity,
    WitnessPublicKey witness_key) {
  return MakeClient(options, identity, std::move(witness_key));
}

absl::StatusOr<std::unique_ptr<RegistrarClient>> RegistrarClient::Create(
    Options options, const TlsIdentity& identity) {
  return MakeClient(options, identity, std::nullopt);
}

absl::StatusOr<Enrolled> EnrollWithToken(const EnrollOptions& options,
                                         const PrivateKey& key) {
  MLEDGE_ASSIGN_OR_RETURN(
      const RegistrarChannel channel,
      ConnectToRegistrar(options.address, options.name,
                         {.root_fingerprint = options.root_fingerprint},
                         /*identity=*/nullptr));
  grpc::ClientContext context;
  SetTimeout(context, options.timeout);
  v1::EnrollRequest request;
  request.set_token(options.token);
  request.set_certificate_signing_request(
      CreateCertificateSigningRequest(key, options.identity));
  v1::EnrollResponse response;
  MLEDGE_RETURN_IF_ERROR(
      channel.Explain(v1::EnrollmentService::NewStub(channel.channel)
                          ->Enroll(&context, request, &response)));
  const auto damaged = [&](std::string_view why) {
    return absl::DataLossError(
        StrCat("registrar ", options.address, ": ", why));
  };
  const absl::StatusOr<Certificate> root = ParseRoot(response.root());
  if (!root.ok() || root->fingerprint() != options.root_fingerprint) {
    return damaged("it answered with another root than the pinned one");
  }
  const absl::StatusOr<std::vector<Certificate>> chain =
      ParsePemChain(response.certificate_chain());
  if (!chain.ok()) return damaged(ToStdView(chain.status().message()));
  const absl::StatusOr<Identity> identity =
      VerifyChain(*chain, *root, absl::Now());
  if (!identity.ok()) return damaged(ToStdView(identity.status().message()));
  if (*identity != options.identity ||
      !(chain->front().public_key() == key.public_key())) {
    return damaged("it answered with a certificate that is not for this key");
  }
  return Enrolled{.certificate_chain_pem = response.certificate_chain(),
                  .root_pem = response.root()};
}

}  // namespace mledge
