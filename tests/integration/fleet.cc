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
                      << RegistrarLines(/*with_address=*/true)
                      << IdentityLines(IdentityOf(Role::kCoordinator, "c"));
  return path;
}

bool Fleet::StartCoordinator(const std::vector<std::string>& environment) {
  LaunchCoordinator(environment);
  return WaitForAddress(coordinator_.get(), "mledge-coordinator", &address_);
}

void Fleet::LaunchCoordinator(const std::vector<std::string>& environment) {
  coordinator_.reset();
  coordinator_ = std::make_unique<ChildProcess>(
      "mledge-coordinator",
      std::vector<std::string>{WriteCoordinatorConfig(address_)},
      PathOf(StrCat("logs/coordinator-", runs_++)), environment);
}

bool Fleet::StartRegistrar() {
  registrar_.reset();
  registrar_ = std::make_unique<ChildProcess>(
      "mledge-registrar",
      std::vector<std::string>{PathOf("pki/registrar.yaml"), "--set",
                               StrCat("listen=", registrar_address_), "--set",
                               StrCat("state_directory=", PathOf("registrar")),
                               "--set", "coordinators=[c]", "--set",
                               "operators=[alice]"},
      PathOf(StrCat("logs/registrar-", runs_++)));
  return WaitForAddress(registrar_.get(), "mledge-registrar",
                        &registrar_address_);
}

bool Fleet::WaitForAddress(ChildProcess* process, const std::string& name,
                           std::string* address) {
  const std::string line = name + ": listening on ";
  const bool up = WaitUntil([&] {
    const std::string log = process->Log();
    const size_t at = log.find(line);
    if (at == std::string::npos || log.find('\n', at) == std::string::npos) {
      return !process->IsRunning();
    }
    const size_t start = at + line.size();
    *address = log.substr(start, log.find('\n', start) - start);
    return true;
  });
  const bool running = up && process->IsRunning();
  EXPECT_TRUE(running) << process->Log();
  return running;
}

std::string Fleet::RegistrarLines(bool with_address) const {
  if (registrar_ == nullptr) return "";
  const absl::StatusOr<std::string> key = ReadFile(PathOf("pki/witness.pub"));
  EXPECT_TRUE(key.ok()) << key.status();
  std::string lines = "registrar:\n";
  if (with_address) lines += StrCat("  address: ", registrar_address_, "\n");
  return lines + StrCat("  witness_key: \"", key->substr(0, 64), "\"\n");
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
  std::ofstream(path)
      << "coordinator: " << address_
      << "\nstate_directory: " << PathOf("state-" + id)
      << "\ntrusted_operators: [alice]\n"
      << "trusted_model_signers: [sam]\n"
      << "maximum_check_in_interval: " << check_in_interval_ << "\n"
      << RegistrarLines(/*with_address=*/false)
      << (registrar_ == nullptr ? ""
                                : "secure_aggregation: {least_devices: 3, "
                                  "least_alive: 3}\n")
      << IdentityLines(IdentityOf(role, id)) << device_lines_
      << "data:\n  idx:\n    images: " << data
      << "-images\n    labels: " << data << "-labels\n"
      << (index_file.empty() ? "" : StrCat("  index_file: ", index_file, "\n"));
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
  return SubmitWith(name,
                    StrCat("cohort: {size: ", devices,
                           ", deadline: 10m}\n"
                           "secure_aggregation: {mode: off}\n"),
                    rounds);
}

std::string Fleet::SubmitWith(const std::string& name, const std::string& lines,
                              int rounds, Finished* finished,
                              const std::vector<std::string>& settings) {
  const std::string path = PathOf(name + ".yaml");
  std::ofstream(path) << "name: " << name << R"(
model:
  built_in: {architecture: softmax-regression, inputs: 64, outputs: 4}
local_training:
  epochs: 1
  batch_size: 10
  sgd: {learning_rate: 0.2}
)" << lines << R"(evaluation: {every: 1, deadline: 10m}
stop: {rounds: )" << rounds
                      << "}\n";
  std::vector<std::string> arguments = {"task", "submit", path,
                                        "--model-signer",
                                        IdentityOf(Role::kModelSigner, "sam")};
  for (const std::string& setting : settings) {
    arguments.push_back("--set");
    arguments.push_back(setting);
  }
  const Finished submitted = Mledge(std::move(arguments));
  if (finished != nullptr) {
    *finished = submitted;
  } else {
    EXPECT_EQ(submitted.status, 0) << submitted.output;
  }
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
