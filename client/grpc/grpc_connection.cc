#include "mledge/client/grpc/grpc_connection.h"

#include <grpcpp/grpcpp.h>

#include <functional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "mledge/client/grpc/callback_threads.h"
#include "mledge/client/grpc/coordinator_verifier.h"
#include "mledge/client/grpc/secure_stream_call.h"
#include "mledge/client/grpc/upload_call.h"
#include "mledge/core/mutex.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/grpc/peer_verifier.h"
#include "mledge/v1/device_service.grpc.pb.h"

namespace mledge {
namespace {

// Messages from the coordinator are small: blobs come in chunks of 256 KiB.
constexpr int kMaximumReceivedMessageInBytes = 4 << 20;

// Turns what gRPC says into what a person can act on.
class ErrorTranslator {
 public:
  ErrorTranslator(std::string target, std::vector<Certificate> own_chain,
                  Certificate root, std::shared_ptr<HandshakeFailure> failure)
      : target_(std::move(target)),
        own_chain_(std::move(own_chain)),
        root_(std::move(root)),
        failure_(std::move(failure)) {}

  absl::Status Translate(const grpc::Status& status) const {
    if (status.ok()) return absl::OkStatus();
    const std::string where = StrCat("coordinator ", target_, ": ");
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE) {
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                          StrCat(where, status.error_message()));
    }
    // No connection. In the order of who can tell most.
    if (const absl::Status rejected = failure_->Get(); !rejected.ok()) {
      return absl::UnauthenticatedError(StrCat(where, rejected.message()));
    }
    if (const absl::Status own = CheckOwn(); !own.ok()) {
      return absl::UnauthenticatedError(StrCat(where, own.message()));
    }
    const std::string& said = status.error_message();
    std::string_view hint;
    if (absl::StrContains(said, "WRONG_VERSION_NUMBER") ||
        absl::StrContains(said, "wrong version number")) {
      hint = " (what listens there does not speak TLS)";
    } else if (absl::StrContains(said, "andshake") ||
               absl::StrContains(said, "SSL_ERROR") ||
               absl::StrContains(said, "alert") ||
               // Under TLS 1.3 a client learns of its rejection in this way.
               (absl::StrContains(said, "failed to connect") &&
                absl::StrContains(said, "Socket closed"))) {
      hint =
          " (no TLS session came about: the coordinator may not accept this "
          "device's certificate; compare their roots, and look at the "
          "coordinator's log)";
    }
    return absl::UnavailableError(StrCat(where, said, hint));
  }

  // Whether the device's own certificate would convince anybody.
  absl::Status CheckOwn() const {
    const absl::StatusOr<Identity> own =
        VerifyChain(own_chain_, root_, absl::Now());
    if (own.ok()) return absl::OkStatus();
    return absl::UnauthenticatedError(
        StrCat("this device's own certificate is of no use: ",
               own.status().message()));
  }

 private:
  const std::string target_;
  const std::vector<Certificate> own_chain_;
  const Certificate root_;
  const std::shared_ptr<HandshakeFailure> failure_;
};

grpc::ChannelArguments MakeChannelArguments(
    const GrpcConnectionOptions& options) {
  const auto milliseconds = [](absl::Duration duration) {
    return static_cast<int>(absl::ToInt64Milliseconds(duration));
  };
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaximumReceivedMessageInBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS,
                   milliseconds(options.keepalive_interval));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                   milliseconds(options.keepalive_timeout));
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
                   milliseconds(options.first_reconnect));
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
                   milliseconds(options.last_reconnect));
  // Retrying is the session's business, and its alone.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // One connection for each GrpcConnection, also where a process has several:
  // they may stand for different devices.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return arguments;
}

class GrpcConnection final : public Connection {
 public:
  GrpcConnection(std::shared_ptr<grpc::Channel> channel,
                 std::shared_ptr<const ErrorTranslator> translator)
      : stub_(v1::DeviceService::NewStub(channel)),
        translator_(std::move(translator)),
        calls_(std::make_shared<OpenCalls>()) {}

  ~GrpcConnection() override {
    CancelAll();
    calls_->WaitUntilNone();
  }

  void CancelAll() override { calls_->CancelAll(); }

  void CheckIn(const v1::CheckInRequest& request, absl::Duration timeout,
               Done<v1::CheckInResponse> done) override {
    Unary<v1::CheckInRequest, v1::CheckInResponse>(
        request, timeout, std::move(done),
        [this](auto... arguments) { stub_->async()->CheckIn(arguments...); });
  }

  void Report(const v1::ReportRequest& request, absl::Duration timeout,
              Done<v1::ReportResponse> done) override {
    Unary<v1::ReportRequest, v1::ReportResponse>(
        request, timeout, std::move(done),
        [this](auto... arguments) { stub_->async()->Report(arguments...); });
  }

  void Fetch(const Digest& digest, uint64_t offset, BlobSink sink,
             absl::Duration timeout,
             std::function<void(absl::Status)> done) override {
    auto* call = new FetchCall(
        std::move(sink),
        [translator = translator_, calls = calls_, done = std::move(done)](
            grpc::ClientContext* context, const grpc::Status& status,
            const absl::Status& sink_status) {
          calls->Remove(context);
          done(sink_status.ok() ? translator->Translate(status) : sink_status);
          calls->Forget();
        });
    Prepare(call->context(), timeout);
    call->request.set_sha256(digest.ToBytes());
    call->request.set_offset(offset);
    stub_->async()->Fetch(call->context(), &call->request, call);
    call->Begin();
  }

  void Upload(const v1::UploadHeader& header,
              std::shared_ptr<const UploadSource> source,
              absl::Duration timeout, Done<v1::UploadResult> done) override {
    auto* call = new UploadCall(
        header, std::move(source),
        [translator = translator_, calls = calls_, done = std::move(done)](
            grpc::ClientContext* context, const grpc::Status& status,
            absl::StatusOr<v1::UploadResult> result) {
          calls->Remove(context);
          // A result that has arrived counts, however the stream ended.
          if (!result.ok() && absl::IsUnknown(result.status())) {
            done(status.ok() ? absl::UnavailableError(
                                   "the coordinator ended the upload without "
                                   "a result")
                             : translator->Translate(status));
          } else {
            done(std::move(result));
          }
          calls->Forget();
        });
    Prepare(call->context(), timeout);
    stub_->async()->Upload(call->context(), call);
    call->Begin();
  }

  std::shared_ptr<SecureStream> OpenSecureAggregation(
      const v1::SecureAggregationJoin& join,
      std::function<void(v1::SecureAggregationResponse)> on_message,
      std::function<void(absl::Status)> on_closed) override {
    auto call = std::make_shared<SecureStreamCall>(
        std::move(on_message),
        [translator = translator_, calls = calls_,
         on_closed = std::move(on_closed)](grpc::ClientContext* context,
                                           const grpc::Status& status) {
          calls->Remove(context);
          on_closed(translator->Translate(status));
          calls->Forget();
        });
    Prepare(call->context(), absl::InfiniteDuration());
    stub_->async()->SecureAggregation(call->context(), call.get());
    call->Begin(join);
    return call;
  }

 private:
  // Calls under way, so that they can be cancelled and waited for.
  class OpenCalls {
   public:
    void Add(grpc::ClientContext* context) {
      MutexLock lock(&mutex_);
      contexts_.insert(context);
      ++open_;
    }
    void Remove(grpc::ClientContext* context) {
      MutexLock lock(&mutex_);
      contexts_.erase(context);
    }
    // After the callback.
    void Forget() {
      MutexLock lock(&mutex_);
      --open_;
      none_.SignalAll();
    }
    void CancelAll() {
      MutexLock lock(&mutex_);
      for (grpc::ClientContext* context : contexts_) context->TryCancel();
    }
    void WaitUntilNone() {
      MutexLock lock(&mutex_);
      while (open_ > 0) none_.Wait(&mutex_);
    }

   private:
    Mutex mutex_;
    CondVar none_;
    std::set<grpc::ClientContext*> contexts_ ABSL_GUARDED_BY(mutex_);
    int open_ ABSL_GUARDED_BY(mutex_) = 0;
  };

  void Prepare(grpc::ClientContext* context, absl::Duration timeout) {
    context->set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    calls_->Add(context);
  }

  template <typename Request, typename Response, typename Issue>
  void Unary(const Request& request, absl::Duration timeout,
             Done<Response> done, Issue issue) {
    struct Call {
      grpc::ClientContext context;
      Request request;
      Response response;
    };
    auto call = std::make_shared<Call>();
    call->request = request;
    Prepare(&call->context, timeout);
    issue(&call->context, &call->request, &call->response,
          std::function<void(grpc::Status)>(
              [call, translator = translator_, calls = calls_,
               done = std::move(done)](grpc::Status status) {
                calls->Remove(&call->context);
                if (status.ok()) {
                  done(std::move(call->response));
                } else {
                  done(translator->Translate(status));
                }
                calls->Forget();
              }));
  }

  const std::unique_ptr<v1::DeviceService::Stub> stub_;
  const std::shared_ptr<const ErrorTranslator> translator_;
  const std::shared_ptr<OpenCalls> calls_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Connection>> CreateGrpcConnection(
    const GrpcConnectionOptions& options, const TlsIdentity& identity) {
  MLEDGE_ASSIGN_OR_RETURN(std::string server_name,
                          HostOf("coordinator", options.target));
  if (!options.server_name.empty()) server_name = options.server_name;
  MLEDGE_ASSIGN_OR_RETURN(const Certificate root,
                          Certificate::FromPem(identity.root_pem));
  MLEDGE_ASSIGN_OR_RETURN(std::vector<Certificate> own_chain,
                          ParsePemChain(identity.certificate_chain_pem));
  auto failure = std::make_shared<HandshakeFailure>();
  auto translator = std::make_shared<const ErrorTranslator>(
      options.target, std::move(own_chain), root, failure);
  MLEDGE_RETURN_IF_ERROR(translator->CheckOwn());
  KeepCallbackThreads();
  const std::shared_ptr<grpc::ChannelCredentials> credentials =
      CheckedChannelCredentials(
          &identity,
          [root, server_name](std::string_view chain_pem) {
            return CheckCoordinatorCertificate(chain_pem, root, server_name,
                                               absl::Now());
          },
          failure);
  return std::make_unique<GrpcConnection>(
      grpc::CreateCustomChannel(options.target, credentials,
                                MakeChannelArguments(options)),
      std::move(translator));
}

}  // namespace mledge
