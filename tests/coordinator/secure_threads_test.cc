// Secure aggregation with all its threads at once and no gRPC: the coordinator
// on a pool with its executor for sessions, the registrar, and devices that
// train, join and leave, each on threads of its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "mledge/client/device_agent.h"
#include "mledge/client/memory_device_storage.h"
#include "mledge/coordinator/memory_storage.h"
#include "mledge/core/clock.h"
#include "mledge/core/executor.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/strings.h"
#include "mledge/identity/registrar/local_witness.h"
#include "mledge/identity/registrar/memory_registrar_storage.h"
#include "mledge/tests/client/session_world.h"
#include "mledge/tests/coordinator/direct_connection.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

constexpr int kDevices = 8;
constexpr int kRounds = 3;
constexpr char kCoordinator[] = "main";

class SecureThreadsTest : public ::testing::Test {
 protected:
  SecureThreadsTest() {
    world_.MakeSecure(kDevices);
    world_.task.mutable_cohort()->set_minimum(kDevices / 2);
    world_.task.mutable_cohort()->mutable_deadline()->set_seconds(60);
    v1::SecureAggregation& secure = *world_.task.mutable_secure_aggregation();
    secure.set_dropout_fraction(0.4);
    world_.task.mutable_stop()->set_rounds(kRounds);
    world_.task.mutable_evaluation()->set_every(0);

    registrar_ = Registrar::Create(
                     {.operators = {"alice"}, .coordinators = {kCoordinator}},
                     {.authority = world_.pki.registrar(),
                      .witness_key = WitnessKey::Generate(random_),
                      .storage = &registrar_storage_,
                      .random = &random_})
                     .value();
    witness_ = std::make_unique<LocalWitness>(registrar_.get(), &clock_,
                                              CoordinatorAsCaller());
    SecureAggregationServices services;
    services.witness = witness_.get();
    services.revocation_list =
        [this](const std::function<void(absl::StatusOr<v1::SignedMessage>)>&
                   answer) {
          answer(registrar_->CurrentRevocationList(clock_.TimeNow()));
        };
    services.root_pem = world_.pki.root_pem();
    services.issuers_pem = {world_.pki.registrar().certificate().ToPem()};
    services.time_now = [this] { return clock_.TimeNow(); };
    coordinator_ =
        Coordinator::Create({.come_back_after = absl::Milliseconds(10)},
                            {.storage = &storage_,
                             .pool = &pool_,
                             .sign_version =
                                 [this](const v1::VersionStatement& statement) {
                                   return absl::StatusOr<v1::SignedMessage>(
                                       world_.SignVersion(statement));
                                 },
                             .wake_at = [](absl::Time) {},
                             .secure_aggregation = std::move(services)},
                            clock_.TimeNow())
            .value();
    ticking_ = std::thread([this] {
      while (!ended_) {
        coordinator_->Tick(clock_.TimeNow());
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
    });
  }
  ~SecureThreadsTest() override {
    ended_ = true;
    ticking_.join();
    coordinator_->Shutdown(clock_.TimeNow());
    coordinator_.reset();
  }

  static RegistrarCaller CoordinatorAsCaller() {
    return {.identity = {Role::kCoordinator, kCoordinator}, .serial = "0"};
  }

  struct Device {
    std::unique_ptr<DirectConnection> connection;
    MemoryDeviceStorage storage;
    std::unique_ptr<SecureIdentity> secure;
    std::unique_ptr<DeviceAgent> agent;
    std::thread thread;
  };

  void Start(Device& device, int number) {
    const DeviceId id(StrCat("device-", number));
    device.connection = std::make_unique<DirectConnection>(
        coordinator_.get(), &clock_, Peer{id, Peer::Role::kDevice});
    device.secure =
        SecureIdentity::Create(world_.pki.Issue(Role::kDevice, id.value()),
                               registrar_->witness_key().ToHex(), 0)
            .value();
    DeviceAgent::Options options;
    options.session = world_.MakeSessionOptions();
    options.session.device = id;
    options.session.policy.secure = SecureAssignmentPolicy{.least_devices = 3};
    options.session.maximum_check_in_interval = absl::Milliseconds(20);
    options.trusted = world_.trusted();
    options.secure.session.corrupt_fraction = 0.1;
    options.secure.session.least_clients = 3;
    options.secure.session.least_alive = 3;
    device.agent =
        DeviceAgent::Create(options, {.connection = device.connection.get(),
                                      .storage = &device.storage,
                                      .trainers = &trainers_,
                                      .examples = examples_.get(),
                                      .secure = device.secure.get(),
                                      .clock = &clock_,
                                      .on_notice = [](const Notice&) {}})
            .value();
    device.thread =
        std::thread([&device] { EXPECT_THAT(device.agent->Run(), IsOk()); });
  }

  absl::Status Submit() {
    v1::Task task = world_.task;
    if (absl::Status status = ValidateTask(&task); !status.ok()) return status;
    std::promise<absl::Status> submitted;
    coordinator_->SubmitTask(
        clock_.TimeNow(),
        {.task = task,
         .signed_task = world_.SignTask(task, world_.operator_signer),
         .package_file = *world_.blobs.at(world_.package_digest),
         .submitted_by = "alice"},
        [&](absl::StatusOr<TaskId> id) { submitted.set_value(id.status()); });
    return submitted.get_future().get();
  }

  RealClock clock_;
  SystemSecretRandom random_;
  SessionWorld world_{std::make_shared<const SessionSigners>(clock_.TimeNow())};
  FakeTrainerFactory trainers_;
  const std::unique_ptr<MemoryStore> examples_ = SessionWorld::MakeExamples();
  MemoryRegistrarStorage registrar_storage_;
  std::unique_ptr<Registrar> registrar_;
  std::unique_ptr<LocalWitness> witness_;
  MemoryStorage storage_;
  ThreadPool pool_{2};
  std::unique_ptr<Coordinator> coordinator_;
  std::atomic<bool> ended_ = false;
  std::thread ticking_;
};

TEST_F(SecureThreadsTest, RoundsEndWithTheSumOfEverybody) {
  ASSERT_THAT(Submit(), IsOk());
  std::promise<void> task_ended;
  std::vector<int64_t> updates;
  const auto watcher =
      coordinator_
          ->Watch(TaskId(world_.task.name()),
                  [&](const v1::TaskEvent& event) {
                    if (event.has_round_completed()) {
                      updates.push_back(event.round_completed().updates());
                    }
                    if (event.has_task_ended()) task_ended.set_value();
                  })
          .value();
  std::vector<Device> devices(kDevices);
  for (int i = 0; i < kDevices; ++i) Start(devices[i], i);
  const auto ended = task_ended.get_future().wait_for(std::chrono::minutes(2));
  for (Device& device : devices) device.agent->Stop();
  for (Device& device : devices) device.thread.join();
  ASSERT_EQ(ended, std::future_status::ready);
  EXPECT_EQ(updates, std::vector<int64_t>(kRounds, kDevices));
  EXPECT_EQ(
      coordinator_->GetTask(TaskId(world_.task.name()))->summary().state(),
      v1::COMPLETED);
}

}  // namespace
}  // namespace mledge
