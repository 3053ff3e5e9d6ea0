// Upload over mutual TLS on loopback: an update of 100 MB, acknowledged after
// the sync, beside what the same machine needs at least, in the same run: a
// bare gRPC client stream over the same TLS, and a sequential write with sync
// of the same bytes. Binds: at least 60 % of the slower floor; the server's
// memory grows by a few chunks only.
//
//   upload_benchmark [MEGABYTES] [REPETITIONS]
//
// In brackets: between the first and the third quartile of the repetitions.

#include <fcntl.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/coordinator/grpc/credentials.h"
#include "mledge/coordinator/grpc/server.h"
#include "mledge/coordinator/storage/sqlite_storage.h"
#include "mledge/core/clock.h"
#include "mledge/core/file.h"
#include "mledge/tests/benchmarks/quartiles.h"
#include "mledge/tests/support/temp_directory.h"
#include "mledge/tests/support/test_pki.h"
#include "mledge/v1/device_service.grpc.pb.h"

namespace mledge {
namespace {

constexpr size_t kChunk = size_t{1} << 18;

// The part of a coordinator that an upload meets: spool, sync, compare.
class SpoolingCoordinator final : public Coordinator {
 public:
  explicit SpoolingCoordinator(CoordinatorStorage* storage)
      : storage_(storage) {}

  absl::StatusOr<UploadStart> BeginUpload(
      absl::Time, const Peer&, const v1::UploadHeader& header) override {
    UploadStart start;
    auto writer = storage_->OpenSpoolWriter(
        AssignmentId(header.assignment_id()),
        *Digest::FromBytes(header.content_sha256()), header.size_in_bytes());
    if (!writer.ok()) return writer.status();
    start.writer = *std::move(writer);
    return start;
  }
  void FinishUpload(absl::Time, const Peer&, const v1::UploadHeader& header,
                    std::unique_ptr<SpoolWriter> writer,
                    Done<v1::UploadResult> done) override {
    const absl::StatusOr<Digest> digest = writer->Sync();
    writer.reset();
    v1::UploadResult result;
    Transaction transaction;
    AssignmentRecord record;
    record.id = AssignmentId(header.assignment_id());
    record.state = AssignmentState::kAcknowledged;
    transaction.assignments = {record};
    const bool right = digest.ok() &&
                       digest->ToBytes() == header.content_sha256() &&
                       storage_->Commit(transaction).ok();
    result.set_outcome(right ? v1::UploadResult::ACKNOWLEDGED
                             : v1::UploadResult::REFUSED);
    done(result);
  }

  void CheckIn(absl::Time, const Peer&, const v1::CheckInRequest&, absl::Time,
               Done<v1::CheckInResponse> done) override {
    done(absl::UnimplementedError("not measured"));
  }
  absl::StatusOr<std::unique_ptr<SecureStream>> JoinSecureAggregation(
      absl::Time, const Peer&, const v1::SecureAggregationJoin&,
      SecureSink) override {
    return absl::UnimplementedError("not measured");
  }
  void Report(absl::Time, const Peer&, const v1::ReportRequest&,
              Done<v1::ReportResponse> done) override {
    done(absl::UnimplementedError("not measured"));
  }
  absl::StatusOr<std::shared_ptr<const BlobReader>> OpenBlob(
      const Peer&, const Digest&) override {
    return absl::UnimplementedError("not measured");
  }
  void SubmitTask(absl::Time, Submission, Done<TaskId> done) override {
    done(absl::UnimplementedError("not measured"));
  }
  void CancelTask(absl::Time, const TaskId&,
                  Done<v1::CancelTaskResponse> done) override {
    done(absl::UnimplementedError("not measured"));
  }
  absl::StatusOr<v1::GetPrivacyLedgerResponse> GetPrivacyLedger(
      const TaskId&) override {
    return absl::UnimplementedError("not measured");
  }
  void AdoptPrivacyLedger(absl::Time, Adoption,
                          Done<v1::AdoptPrivacyLedgerResponse> done) override {
    done(absl::UnimplementedError("not measured"));
  }
  std::vector<v1::TaskSummary> ListTasks() override { return {}; }
  absl::StatusOr<v1::GetTaskResponse> GetTask(const TaskId&) override {
    return absl::UnimplementedError("not measured");
  }
  std::vector<v1::DeviceSummary> ListDevices() override { return {}; }
  absl::StatusOr<std::unique_ptr<Subscription>> Watch(
      const TaskId&, std::function<void(const v1::TaskEvent&)>) override {
    return absl::UnimplementedError("not measured");
  }
  absl::StatusOr<ModelBlobs> OpenModel(const TaskId&,
                                       std::optional<VersionNumber>) override {
    return absl::UnimplementedError("not measured");
  }
  void Tick(absl::Time) override {}
  void Shutdown(absl::Time) override {}

 private:
  CoordinatorStorage* const storage_;
};

// The floor on the network: reads messages and throws them away.
class DiscardingService final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext*) override {
    class Reactor final : public grpc::ServerGenericBidiReactor {
     public:
      Reactor() { StartRead(&message_); }
      void OnReadDone(bool ok) override {
        if (ok) {
          StartRead(&message_);
        } else {
          Finish(grpc::Status::OK);
        }
      }
      void OnDone() override { delete this; }

     private:
      grpc::ByteBuffer message_;
    };
    return new Reactor;
  }
};

// Kilobytes of this process: resident now, and the most since the last reset.
long StatusKilobytes(int pid, const std::string& field) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind(field + ":", 0) == 0) {
      return std::strtol(line.c_str() + field.size() + 1, nullptr, 10);
    }
  }
  return 0;
}

struct Bench {
  TempDirectory directory;
  TestPki pki{absl::Now() - absl::Hours(1)};
  size_t size = 0;
  std::string content;
  Digest digest;
};

v1::IdentityFiles WriteIdentity(Bench& bench, const TlsIdentity& identity) {
  const std::string folder = bench.directory.File("identity");
  const v1::IdentityFiles files = IdentityFilesIn(folder);
  const auto key = identity.private_key_pem.bytes(RevealSecret());
  EnsureWritableDirectory(folder).IgnoreError();
  WriteFileAtomically(files.certificate(), identity.certificate_chain_pem)
      .IgnoreError();
  WriteFileAtomically(files.private_key(),
                      {reinterpret_cast<const char*>(key.data()), key.size()},
                      FileMode::kPrivate)
      .IgnoreError();
  WriteFileAtomically(files.root(), identity.root_pem).IgnoreError();
  return files;
}

// In a process of its own, as in production; writes its port to `pipe` and
// lives until it is killed, or the benchmark dies.
void RunServer(const std::string& directory, const v1::IdentityFiles& files,
               bool discarding, int write_end, int read_end) {
  RealClock clock;
  int port = 0;
  std::unique_ptr<SqliteStorage> storage;
  std::unique_ptr<SpoolingCoordinator> coordinator;
  std::unique_ptr<CoordinatorServer> server;
  DiscardingService service;
  std::unique_ptr<grpc::Server> bare;
  if (discarding) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", MutualTlsServerCredentials(files),
                             &port);
    builder.RegisterCallbackGenericService(&service);
    bare = builder.BuildAndStart();
  } else {
    storage = SqliteStorage::Open(directory).value();
    coordinator = std::make_unique<SpoolingCoordinator>(storage.get());
    server = CoordinatorServer::Start({.listen = "127.0.0.1:0",
                                       .identity = files,
                                       .trusted_operators = {"o"},
                                       .trusted_model_signers = {"m"}},
                                      {coordinator.get(), &clock})
                 .value();
    port = server->port();
  }
  if (write(write_end, &port, sizeof(port)) != sizeof(port)) _exit(1);
  char byte;
  if (read(read_end, &byte, 1) < 0) _exit(1);
  _exit(0);
}

struct ServerProcess {
  pid_t pid = 0;
  int port = 0;
  int stop = -1;
};

ServerProcess StartServer(const Bench& bench, const v1::IdentityFiles& files,
                          bool discarding) {
  int ports[2], stops[2];
  if (pipe(ports) != 0 || pipe(stops) != 0) std::abort();
  ServerProcess server;
  server.pid = fork();
  if (server.pid == 0) {
    close(stops[1]);
    RunServer(bench.directory.File("state"), files, discarding, ports[1],
              stops[0]);
  }
  close(stops[0]);
  server.stop = stops[1];
  if (read(ports[0], &server.port, sizeof(server.port)) !=
      sizeof(server.port)) {
    std::abort();
  }
  return server;
}

void StopServer(const ServerProcess& server) {
  // Not by closing `stop`: the other child has inherited that end.
  kill(server.pid, SIGKILL);
  waitpid(server.pid, nullptr, 0);
}

std::shared_ptr<grpc::Channel> ConnectTo(const Bench& bench, int port) {
  grpc::ChannelArguments arguments;
  std::shared_ptr<grpc::Channel> channel = grpc::CreateCustomChannel(
      "127.0.0.1:" + std::to_string(port),
      MutualTlsChannelCredentials(bench.pki.Issue(Role::kDevice, "device-1")),
      arguments);
  channel->WaitForConnected(std::chrono::system_clock::now() +
                            std::chrono::seconds(30));
  return channel;
}

// Header, resume, chunks, acknowledgement; for the bare server all is thrown
// away, and its answer is the call's end.
double Upload(const Bench& bench, grpc::Channel* channel,
              const std::string& assignment, bool discarding) {
  const auto stub = v1::DeviceService::NewStub(
      std::shared_ptr<grpc::Channel>(channel, [](grpc::Channel*) {}));
  const absl::Time start = absl::Now();
  grpc::ClientContext context;
  const auto stream = stub->Upload(&context);
  v1::UploadRequest request;
  v1::UploadResponse response;
  if (!discarding) {
    request.mutable_header()->set_assignment_id(assignment);
    request.mutable_header()->set_content_sha256(bench.digest.ToBytes());
    request.mutable_header()->set_size_in_bytes(bench.size);
    stream->Write(request);
    if (!stream->Read(&response)) std::abort();
  }
  for (size_t offset = 0; offset < bench.size; offset += kChunk) {
    request.mutable_chunk()->assign(bench.content, offset,
                                    std::min(kChunk, bench.size - offset));
    stream->Write(request);
  }
  stream->WritesDone();
  stream->Read(&response);
  if (!stream->Finish().ok() ||
      (!discarding &&
       response.result().outcome() != v1::UploadResult::ACKNOWLEDGED)) {
    std::fprintf(stderr, "the upload was not acknowledged\n");
    std::exit(1);
  }
  return absl::ToDoubleSeconds(absl::Now() - start);
}

double WriteWithSync(const Bench& bench) {
  const std::string path = bench.directory.File("floor");
  const absl::Time start = absl::Now();
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  for (size_t offset = 0; offset < bench.size; offset += kChunk) {
    const size_t size = std::min(kChunk, bench.size - offset);
    if (write(fd, bench.content.data() + offset, size) !=
        static_cast<ssize_t>(size)) {
      std::abort();
    }
  }
  if (fdatasync(fd) != 0) std::abort();
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  close(fd);
  unlink(path.c_str());
  return seconds;
}

// No floor of the goal, but the coordinator has to do it on some core.
double Hash(const Bench& bench) {
  const absl::Time start = absl::Now();
  if (Sha256Of(std::string_view(bench.content)) != bench.digest) std::abort();
  return absl::ToDoubleSeconds(absl::Now() - start);
}

int Run(size_t megabytes, int repetitions) {
  Bench bench;
  bench.size = megabytes * 1'000'000;
  bench.content.resize(bench.size);
  uint64_t state = 1;
  for (char& byte : bench.content) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<char>(state >> 56);
  }
  bench.digest = Sha256Of(std::string_view(bench.content));
  const v1::IdentityFiles files =
      WriteIdentity(bench, bench.pki.Issue(Role::kCoordinator, "c"));
  // Both processes are forked before this one touches gRPC.
  const ServerProcess ours = StartServer(bench, files, false);
  const ServerProcess bare = StartServer(bench, files, true);

  // A disk's rate changes from second to second: what is compared is measured
  // one after the other, and it is the ratio of each repetition that counts.
  std::vector<double> upload, stream, disk, hash, share;
  long grown = 0;
  {
    const auto our_channel = ConnectTo(bench, ours.port);
    const auto bare_channel = ConnectTo(bench, bare.port);
    Upload(bench, our_channel.get(), "warm-up", false);
    Upload(bench, bare_channel.get(), "", true);
    const long before = StatusKilobytes(ours.pid, "VmRSS");
    for (int i = 0; i < repetitions; ++i) {
      upload.push_back(Upload(bench, our_channel.get(),
                              "assignment-" + std::to_string(i), false));
      stream.push_back(Upload(bench, bare_channel.get(), "", true));
      disk.push_back(WriteWithSync(bench));
      hash.push_back(Hash(bench));
      share.push_back(std::max(stream.back(), disk.back()) / upload.back());
    }
    grown = StatusKilobytes(ours.pid, "VmHWM") - before;
  }
  StopServer(ours);
  StopServer(bare);

  const auto report = [&](const char* name, const Quartiles& seconds) {
    std::printf("%-41s %6.3f s %7.1f MB/s (%.3f to %.3f s)\n", name,
                seconds.median, static_cast<double>(megabytes) / seconds.median,
                seconds.first, seconds.third);
  };
  report("upload, acknowledged after the sync", Quartiles(upload));
  report("floor: bare gRPC stream over mutual TLS", Quartiles(stream));
  report("floor: sequential write with sync", Quartiles(disk));
  report("beside: SHA-256 of the bytes, one thread", Quartiles(hash));
  const Quartiles ratio(share);
  std::printf(
      "share of the slower floor's rate: %.2f (%.2f to %.2f; goal 0.60: %s)\n",
      ratio.median, ratio.first, ratio.third,
      ratio.median >= 0.6 ? "reached" : "MISSED");
  std::printf("server's peak memory above that before: %.1f MB\n",
              static_cast<double>(grown) / 1024);
  return 0;
}

}  // namespace
}  // namespace mledge

int main(int argc, char** argv) {
  const int megabytes = argc > 1 ? std::atoi(argv[1]) : 100;
  const int repetitions = argc > 2 ? std::atoi(argv[2]) : 15;
  if (megabytes < 1 || repetitions < 1) {
    std::fprintf(stderr, "usage: upload_benchmark [MEGABYTES] [REPETITIONS]\n");
    return 2;
  }
  return mledge::Run(static_cast<size_t>(megabytes), repetitions);
}
