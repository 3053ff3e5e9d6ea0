#include "mledge/tests/integration/fleet.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/time/clock.h"
#include "mledge/core/file.h"
#include "mledge/core/strings.h"
#include "mledge/core/training_random.h"
#include "mledge/identity/pki_directory.h"

namespace mledge {
namespace {

constexpr int kClasses = 4;

void AppendBigEndian(std::string* bytes, uint32_t value) {
  for (int shift : {24, 16, 8, 0}) {
    bytes->push_back(static_cast<char>(value >> shift));
  }
}

std::string IdentityLines(const std::string& folder) {
  return StrCat("identity:\n  certificate: ", folder,
                "/certificate.pem\n  private_key: ", folder,
                "/private_key.pem\n  root: ", folder, "/root.pem\n");
}

}  // namespace

Fleet::Fleet() {
  EXPECT_TRUE(InitializePki(PathOf("pki"), {.now = absl::Now()}).ok());
  std::filesystem::create_directories(PathOf("logs"));
}

std::string Fleet::IdentityOf(Role role, const std::string& id) {
  const std::string folder =
      StrCat(PathOf("pki"), "/", ToString(role), "-", id);
  if (std::filesystem::exists(folder)) return folder;
  PkiIssueOptions options;
  options.identity = {role, id};
  options.now = absl::Now();
  if (role == Role::kCoordinator) options.hosts = {"localhost", "127.0.0.1"};
  const auto issued = IssueIdentity(PathOf("pki"), options);
  EXPECT_TRUE(issued.ok()) << issued.status();
  return folder;
}

std::string Fleet::WriteCoordinatorConfig(const std::string& listen) {
  const std::string path = PathOf("coordinator.yaml");
  std::ofstream(path) << "listen: " << listen
                      << "\nstate_directory: " << PathOf("coordinator")
                      << "\ntrusted_operators: [alice]\n"
                      << "trusted_model_signers: [sam]\n"
                      << IdentityLines(IdentityOf(Role::kCoordinator, "c"));
  return path;
}

bool Fleet::StartCoordinator() {
  coordinator_.reset();
  coordinator_ = std::make_unique<ChildProcess>(
      "mledge-coordinator",
      std::vector<std::string>{WriteCoordinatorConfig(address_)},
      PathOf(StrCat("logs/coordinator-", runs_++)));
  constexpr std::string_view kLine = "mledge-coordinator: listening on ";
  const bool up = WaitUntil([&] {
    const std::string log = coordinator_->Log();
    const size_t at = log.find(kLine);
    if (at == std::string::npos || log.find('\n', at) == std::string::npos) {
      return !coordinator_->IsRunning();
    }
    const size_t start = at + kLine.size();
    address_ = log.substr(start, log.find('\n', start) - start);
    return true;
  });
  const bool running = up && coordinator_->IsRunning();
  EXPECT_TRUE(running) << coordinator_->Log();
  return running;
}

// Class k is bright in quadrant k, under noise.
std::string Fleet::WriteData(const std::string& name, int examples, int seed,
                             int side) {
  TrainingRandom random(
      {.task_seed = static_cast<uint64_t>(seed), .purpose = "test data"});
  std::string images, labels;
  AppendBigEndian(&images, 0x00000803);
  for (uint32_t size : {uint32_t(examples), uint32_t(side), uint32_t(side)}) {
    AppendBigEndian(&images, size);
  }
  AppendBigEndian(&labels, 0x00000801);
  AppendBigEndian(&labels, static_cast<uint32_t>(examples));
  for (int i = 0; i < examples; ++i) {
    const int label = static_cast<int>(random.UniformBelow(kClasses));
    labels.push_back(static_cast<char>(label));
    for (int y = 0; y < side; ++y) {
      for (int x = 0; x < side; ++x) {
        const int quadrant = 2 * (2 * y / side) + 2 * x / side;
        const uint64_t bright = quadrant == label ? 120 : 0;
        images.push_back(static_cast<char>(bright + random.UniformBelow(100)));
      }
    }
  }
  const std::string prefix = PathOf(name);
  EXPECT_TRUE(WriteFileAtomically(prefix + "-images", images).ok());
  EXPECT_TRUE(WriteFileAtomically(prefix + "-labels", labels).ok());
  return prefix;
}

void Fleet::StartAgent(Role role, const std::string& id,
                       const std::string& data, const std::string& index_file) {
  const std::string path = PathOf(id + ".yaml");
  std::ofstream(path) << "coordinator: " << address_
                      << "\nstate_directory: " << PathOf("state-" + id)
                      << "\ntrusted_operators: [alice]\n"
                      << "trusted_model_signers: [sam]\n"
                      << "maximum_check_in_interval: 1s\n"
                      << IdentityLines(IdentityOf(role, id))
                      << "data:\n  idx:\n    images: " << data
                      << "-images\n    labels: " << data << "-labels\n"
                      << (index_file.empty()
                              ? ""
                              : StrCat("  index_file: ", index_file, "\n"));
  devices_[id].reset();
  devices_[id] = std::make_unique<ChildProcess>(
      "mledge-device", std::vector<std::string>{path},
      PathOf(StrCat("logs/", id, "-", runs_++)));
}

void Fleet::StartDevice(const std::string& id) {
  const int number = std::atoi(id.substr(id.rfind('-') + 1).c_str());
  StartAgent(Role::kDevice, id,
             WriteData("data-" + id, 60 + 10 * number, number + 1));
}

void Fleet::StartEvaluator() {
  StartAgent(Role::kEvaluator, "judge", WriteData("test", 200, 1000));
}

void Fleet::StartDevices(int count) {
  for (int i = 0; i < count; ++i) StartDevice(StrCat("device-", i));
  StartEvaluator();
}

std::string Fleet::Submit(const std::string& name, int devices, int rounds) {
  const std::string path = PathOf(name + ".yaml");
  std::ofstream(path) << "name: " << name << R"(
model:
  built_in: {architecture: softmax-regression, inputs: 64, outputs: 4}
local_training:
  epochs: 1
  batch_size: 10
  sgd: {learning_rate: 0.2}
cohort: {size: )" << devices
                      << R"(, deadline: 10m}
secure_aggregation: {mode: off}
evaluation: {every: 1, deadline: 10m}
stop: {rounds: )" << rounds
                      << "}\n";
  const Finished submitted = Mledge({"task", "submit", path, "--model-signer",
                                     IdentityOf(Role::kModelSigner, "sam")});
  EXPECT_EQ(submitted.status, 0) << submitted.output;
  return name;
}

Finished Fleet::Mledge(std::vector<std::string> arguments, bool connected) {
  if (connected) {
    for (const std::string& option :
         {std::string("--coordinator"), address_, std::string("--identity"),
          IdentityOf(Role::kOperator, "alice")}) {
      arguments.push_back(option);
    }
  }
  return RunProgram("mledge", arguments,
                    PathOf(StrCat("logs/mledge-", runs_++)));
}

std::unique_ptr<AdminClient> Fleet::Admin() {
  const TlsIdentity identity =
      LoadTlsIdentity(IdentityFilesIn(IdentityOf(Role::kOperator, "alice")), {},
                      absl::Now())
          .value();
  return AdminClient::Create({.coordinator = address_}, identity).value();
}

bool Fleet::WaitForVersion(const std::string& task, int64_t version,
                           absl::Duration deadline) {
  const std::unique_ptr<AdminClient> admin = Admin();
  return WaitUntil(
      [&] {
        const auto state = admin->GetTask(task);
        return state.ok() && state->summary().version() >= version;
      },
      deadline);
}

std::vector<v1::TaskEvent> Fleet::EventsToTheEnd(const std::string& task) {
  std::vector<v1::TaskEvent> events;
  const absl::Status status = Admin()->WatchTask(
      task, [&](const v1::TaskEvent& event) { events.push_back(event); },
      [](const absl::Status&) {});
  EXPECT_TRUE(status.ok()) << status;
  return events;
}

}  // namespace mledge
