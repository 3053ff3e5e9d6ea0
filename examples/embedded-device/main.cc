// embedded-device COORDINATOR IDENTITY_FOLDER STATE_FOLDER: a device whose
// examples lie in memory and that takes part in rounds until it is stopped.
#include <signal.h>

#include <iostream>
#include <thread>

#include "mledge/client/device_agent.h"
#include "mledge/client/grpc/grpc_connection.h"
#include "mledge/client/memory_store.h"
#include "mledge/client/storage/sqlite_device_storage.h"
#include "mledge/client/torch/torch_trainer.h"
#include "mledge/identity/tls_identity.h"

using namespace mledge;  // NOLINT: an example

absl::StatusOr<std::unique_ptr<MemoryStore>> Measurements() {
  MemoryStore::Contents contents{.input = {.shape = {2}}, .classes = 2};
  for (int i = 0; i < 64; ++i) {  // class 1 where the first number is larger
    const float a = (i * 37 % 64) / 64.0f, b = (i * 11 % 64) / 64.0f;
    contents.inputs.insert(contents.inputs.end(), {a, b});
    contents.class_labels.push_back(a > b);
  }
  return MemoryStore::Create(std::move(contents));
}

absl::Status Run(char** argv, const sigset_t& stop_signals) {
  const Role roles[] = {Role::kDevice};
  auto identity = LoadTlsIdentity(IdentityFilesIn(argv[2]), roles, absl::Now());
  if (!identity.ok()) return identity.status();
  const DeviceId id(identity->identity.id);
  auto examples = Measurements();
  if (!examples.ok()) return examples.status();
  auto key = MakeFileStateKey(std::string(argv[2]) + "/state.key");
  auto storage = OpenSqliteDeviceStorage(
      {.directory = argv[3], .device = id, .state_key = key.get()});
  if (!storage.ok()) return storage.status();
  auto connection = CreateGrpcConnection({.target = argv[1]}, *identity);
  if (!connection.ok()) return connection.status();
  auto trainers = CreateTorchTrainerFactory();
  DeviceAgent::Options options;
  options.session.device = id;
  options.trusted = {identity->root_pem, {"operator"}, {"model-signer"}};
  auto agent = DeviceAgent::Create(options, {connection->get(), storage->get(),
                                             trainers.get(), examples->get()});
  if (!agent.ok()) return agent.status();
  std::thread stopper([&] {
    int signal = 0;
    sigwait(&stop_signals, &signal);
    (*agent)->Stop();
  });
  absl::Status status = (*agent)->Run();
  stopper.join();
  return status;
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
  const absl::Status status = Run(argv, stop_signals);
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
