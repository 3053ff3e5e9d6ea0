#ifndef MLEDGE_TESTS_CLIENT_GRPC_FAKE_DEVICE_SERVICE_H_
#define MLEDGE_TESTS_CLIENT_GRPC_FAKE_DEVICE_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "mledge/core/secret_bytes.h"
#include "mledge/identity/tls_identity.h"
#include "mledge/tests/client/fake_coordinator.h"
#include "mledge/v1/device_service.grpc.pb.h"

// The device service over real gRPC and mutual TLS in front of a
// FakeCoordinator. A test bends it through its members.

namespace mledge {

class FakeDeviceService final : public v1::DeviceService::Service {
 public:
  explicit FakeDeviceService(FakeCoordinator* coordinator)
      : coordinator_(coordinator) {}

  // Breaks the next upload off after so many bytes, once.
  std::atomic<int64_t> break_upload_after{-1};
  // Keeps check-ins without an answer until the caller goes.
  std::atomic<bool> hang{false};
  std::atomic<size_t> chunk_size{1000};

  grpc::Status CheckIn(grpc::ServerContext* context, const v1::CheckInRequest*,
                       v1::CheckInResponse* response) override {
    while (hang && !context->IsCancelled()) std::this_thread::yield();
    *response = coordinator_->CheckIn();
    return grpc::Status::OK;
  }

  grpc::Status Fetch(grpc::ServerContext*, const v1::FetchRequest* request,
                     grpc::ServerWriter<v1::FetchChunk>* writer) override {
    const auto digest = Digest::FromBytes(request->sha256());
    if (!digest.ok()) return {grpc::StatusCode::INVALID_ARGUMENT, "sha256"};
    const auto blob = coordinator_->Blob(*digest);
    if (!blob.ok()) return {grpc::StatusCode::NOT_FOUND, "no such blob"};
    if (request->offset() > (*blob)->size()) {
      return {grpc::StatusCode::OUT_OF_RANGE, "past the end"};
    }
    for (uint64_t offset = request->offset(); offset < (*blob)->size();
         offset += chunk_size) {
      v1::FetchChunk chunk;
      chunk.set_data((*blob)->substr(offset, chunk_size));
      if (!writer->Write(chunk)) break;
    }
    return grpc::Status::OK;
  }

  grpc::Status Upload(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::UploadResponse, v1::UploadRequest>* stream)
      override {
    v1::UploadRequest request;
    if (!stream->Read(&request) || !request.has_header()) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "no header"};
    }
    const v1::UploadHeader header = request.header();
    const auto begun = coordinator_->BeginUpload(header);
    if (!begun.ok()) {
      return {static_cast<grpc::StatusCode>(begun.status().code()),
              std::string(begun.status().message())};
    }
    stream->Write(*begun);
    if (begun->has_result()) return grpc::Status::OK;
    std::optional<v1::UploadResult> result;
    if (begun->resume().offset() == header.size_in_bytes()) {
      result = coordinator_->Take(header, "");
    }
    while (!result.has_value() && stream->Read(&request)) {
      largest_chunk = std::max(largest_chunk, request.chunk().size());
      result = coordinator_->Take(header, request.chunk());
      if (break_upload_after >= 0 &&
          static_cast<int64_t>(coordinator_->bytes_received()) >=
              break_upload_after) {
        break_upload_after = -1;
        return {grpc::StatusCode::UNAVAILABLE, "broken off by the test"};
      }
    }
    if (!result.has_value()) return grpc::Status::OK;
    v1::UploadResponse response;
    *response.mutable_result() = *result;
    stream->Write(response);
    return grpc::Status::OK;
  }

  using SecureServerStream =
      grpc::ServerReaderWriter<v1::SecureAggregationResponse,
                               v1::SecureAggregationRequest>;
  // What the coordinator does with a stream of secure aggregation.
  std::function<grpc::Status(grpc::ServerContext*, SecureServerStream*)> secure;

  grpc::Status SecureAggregation(grpc::ServerContext* context,
                                 SecureServerStream* stream) override {
    return secure(context, stream);
  }

  grpc::Status Report(grpc::ServerContext*, const v1::ReportRequest* request,
                      v1::ReportResponse*) override {
    coordinator_->Report(*request);
    return grpc::Status::OK;
  }

  size_t largest_chunk = 0;

 private:
  FakeCoordinator* const coordinator_;
};

// A server on a free port of this machine.
class TestServer {
 public:
  TestServer(FakeDeviceService* service, const TlsIdentity& identity)
      : TestServer(service, MakeCredentials(identity), 0) {}
  // Plaintext: what a device must never talk to.
  static std::unique_ptr<TestServer> Plaintext(FakeDeviceService* service) {
    return std::unique_ptr<TestServer>(
        new TestServer(service, grpc::InsecureServerCredentials(), 0));
  }
  ~TestServer() {
    server_->Shutdown(std::chrono::system_clock::now() +
                      std::chrono::seconds(1));
  }

  std::string target() const { return StrCat("localhost:", port_); }
  int port() const { return port_; }

 private:
  TestServer(FakeDeviceService* service,
             const std::shared_ptr<grpc::ServerCredentials>& credentials,
             int port) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(StrCat("127.0.0.1:", port), credentials, &port_);
    builder.RegisterService(service);
    server_ = builder.BuildAndStart();
  }

  static std::shared_ptr<grpc::ServerCredentials> MakeCredentials(
      const TlsIdentity& identity) {
    grpc::SslServerCredentialsOptions options(
        GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_root_certs = identity.root_pem;
    const auto key = identity.private_key_pem.bytes(RevealSecret());
    options.pem_key_cert_pairs.push_back(
        {std::string(reinterpret_cast<const char*>(key.data()), key.size()),
         identity.certificate_chain_pem});
    return grpc::SslServerCredentials(options);
  }

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_CLIENT_GRPC_FAKE_DEVICE_SERVICE_H_
