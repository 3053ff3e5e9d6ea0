#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "mledge/client/device_session.h"
#include "mledge/client/memory_device_storage.h"
#include "mledge/client/training_worker.h"
#include "mledge/client/uploader.h"
#include "mledge/tests/client/fake_coordinator.h"
#include "mledge/tests/client/session_world.h"
#include "mledge/tests/support/test_seed.h"

// A device that is killed after any effect, again and again, still delivers
// every update exactly once and with the bits that it would have had anyway.

namespace mledge {
namespace {

constexpr int kRounds = 3;

// One life of a device on a virtual clock: everything in memory, every effect
// counted, gone when the count is reached.
class Life {
 public:
  // `lose` says which answers do not arrive, by a running number.
  Life(SessionWorld& world, FakeCoordinator& coordinator,
       MemoryDeviceStorage& storage, const ExampleStore& examples,
       std::shared_ptr<PackageCache> cache, std::function<bool()> lose)
      : world_(world),
        coordinator_(coordinator),
        storage_(storage),
        examples_(examples),
        lose_(std::move(lose)),
        session_(world.MakeSessionOptions(), std::move(cache)) {}

  // Returns whether the device lived until all rounds were done.
  bool Run(int64_t effects_to_live) {
    auto journal = storage_.LoadJournal();
    if (journal->has_value()) session_.Restore(**journal);
    Add(session_.Start(world_.now));
    while (static_cast<int>(coordinator_.acknowledged().size()) < kRounds ||
           session_.assignment() != nullptr) {
      if (queue_.empty()) {
        // Nothing to do but wait.
        EXPECT_LT(wake_at_, absl::InfiniteFuture()) << "the session is stuck";
        if (wake_at_ == absl::InfiniteFuture()) return false;
        world_.now = std::max(world_.now, wake_at_);
        Add(session_.OnWake(world_.now));
        continue;
      }
      if (effects_to_live-- == 0) return false;
      const Effect effect = queue_.front();
      queue_.pop_front();
      std::visit([this](const auto& e) { Do(e); }, effect);
    }
    return true;
  }

 private:
  void Add(Effects effects) {
    for (Effect& effect : effects) queue_.push_back(std::move(effect));
  }

  void Do(const SendCheckIn& effect) {
    const v1::CheckInResponse answer = coordinator_.CheckIn();
    if (lose_()) return;
    Add(session_.OnCheckInAnswer(world_.now, effect.call, answer));
  }
  void Do(const FetchBlob& effect) {
    const auto cached = storage_.ReadBlob(effect.digest);
    if (cached.ok()) {
      Add(session_.OnFetched(world_.now, effect.call, cached));
      return;
    }
    const auto blob = coordinator_.Blob(effect.digest);
    if (lose_()) return;
    auto writer = *storage_.OpenBlobWriter(effect.digest, effect.size_in_bytes);
    EXPECT_TRUE(writer->Append(**blob).ok());
    EXPECT_TRUE(writer->Commit().ok());
    Add(session_.OnFetched(world_.now, effect.call, blob));
  }
  void Do(const Persist& effect) {
    absl::Status status;
    if (effect.record.update.has_value()) {
      status = storage_.SaveUpdate(prepared_->finished, prepared_->context,
                                   prepared_->update, effect.charge);
    } else {
      status = storage_.SaveAssignment(effect.record.assignment);
    }
    Add(session_.OnPersisted(world_.now, effect.call, status));
  }
  void Do(const StartTraining& effect) {
    FakeTrainerFactory factory;
    auto trainer = *factory.CreateTrainer(*effect.job->package);
    const auto snapshot = *storage_.LoadSnapshot(effect.job->assignment);
    const absl::Status begun =
        snapshot.has_value()
            ? trainer->Restore(effect.job->plan, *effect.job->parameters,
                               &examples_, {*snapshot})
            : trainer->Start(effect.job->plan, *effect.job->parameters,
                             &examples_);
    ASSERT_TRUE(begun.ok()) << begun;
    // A snapshot after every step; the last one may be all that is left.
    while (*trainer->Step(1) == LocalTrainer::Progress::kMore) {
      ASSERT_TRUE(
          storage_
              .SaveSnapshot(effect.job->assignment, trainer->Snapshot()->bytes)
              .ok());
    }
    SystemSecretRandom random;
    prepared_ = *PrepareUpdate(*effect.job, *trainer->Finish(), random);
    Add(session_.OnTrainingFinished(world_.now, effect.call,
                                    prepared_->finished));
  }
  void Do(const StopTraining&) {}
  void Do(const Upload& effect) {
    const auto source = *storage_.OpenUpdate(effect.assignment);
    const v1::UploadHeader header =
        MakeUploadHeader(effect.assignment, effect.update);
    const auto begun = coordinator_.BeginUpload(header);
    absl::StatusOr<v1::UploadResult> result =
        absl::UnavailableError("broken off");
    if (!begun.ok()) {
      result = begun.status();
    } else if (begun->has_result()) {
      result = begun->result();
    } else {
      const uint64_t offset = begun->resume().offset();
      // Sometimes only a part arrives.
      const uint64_t rest = source->size_in_bytes() - offset;
      const uint64_t size = lose_() ? rest / 2 : rest;
      const auto taken = coordinator_.Take(header, *source->Read(offset, size));
      if (taken.has_value()) result = *taken;
    }
    if (lose_()) return;
    Add(session_.OnUploadAnswer(world_.now, effect.call, result));
  }
  void Do(const AggregateSecurely&) {
    ADD_FAILURE() << "the task has no secure aggregation";
  }
  void Do(const SendReport& effect) {
    coordinator_.Report(effect.request);
    if (lose_()) return;
    Add(session_.OnReportAnswer(world_.now, effect.call, absl::OkStatus()));
  }
  void Do(const Forget& effect) {
    ASSERT_TRUE(storage_.Forget(effect.assignment).ok());
  }
  void Do(const WakeAt& effect) { wake_at_ = effect.time; }
  void Do(const Notice&) {}

  SessionWorld& world_;
  FakeCoordinator& coordinator_;
  MemoryDeviceStorage& storage_;
  const ExampleStore& examples_;
  const std::function<bool()> lose_;
  DeviceSession session_;
  std::deque<Effect> queue_;
  absl::Time wake_at_ = absl::InfiniteFuture();
  std::optional<PreparedUpdate> prepared_;
};

class DeviceCrashTest : public ::testing::Test {
 protected:
  DeviceCrashTest() : cache_(base_.MakeCache()) {
    for (int round = 1; round <= kRounds; ++round) {
      assignments_.push_back(base_.MakeAssignment(round));
      assignments_.back().set_expires_at_unix_milliseconds(
          absl::ToUnixMillis(base_.now + absl::Hours(1000)));
    }
    // What a device that never dies delivers.
    SessionWorld world = base_;
    FakeCoordinator coordinator(world.blobs, assignments_);
    MemoryDeviceStorage storage;
    Life life(world, coordinator, storage, *examples_, cache_,
              [] { return false; });
    EXPECT_TRUE(life.Run(1 << 20));
    expected_ = coordinator.acknowledged();
    EXPECT_EQ(expected_.size(), kRounds);
  }

  const std::unique_ptr<MemoryStore> examples_ = SessionWorld::MakeExamples();
  SessionWorld base_;
  // Verifying is not what these tests are about.
  const std::shared_ptr<PackageCache> cache_;
  std::vector<v1::Assignment> assignments_;
  std::map<std::string, std::string> expected_;
};

TEST_F(DeviceCrashTest, DeliversEveryUpdateOnceWhereverItIsKilled) {
  // Each first life ends one effect later, the next one lasts.
  for (int first_life = 0; first_life < 60; ++first_life) {
    SCOPED_TRACE(first_life);
    SessionWorld world = base_;
    FakeCoordinator coordinator(world.blobs, assignments_);
    auto storage = std::make_unique<MemoryDeviceStorage>();
    int64_t lifetime = first_life;
    while (true) {
      Life life(world, coordinator, *storage, *examples_, cache_,
                [] { return false; });
      if (life.Run(lifetime)) break;
      storage = MemoryDeviceStorage::AfterCrash(*storage);
      lifetime = 1 << 20;
    }
    EXPECT_EQ(coordinator.acknowledged(), expected_);
    EXPECT_EQ(coordinator.conflicts(), 0);
    EXPECT_TRUE(coordinator.reports().empty());
  }
}

TEST_F(DeviceCrashTest, DeliversEveryUpdateOnceWithShortLivesAndLostAnswers) {
  const uint64_t seed = TestSeed(20260101);
  const auto trace = TraceSeed(seed);
  for (int history = 0; history < 200; ++history) {
    SCOPED_TRACE(history);
    TrainingRandom random(TrainingRandom::Stream{
        .task_seed = seed, .ordinal = history, .purpose = "crashes"});
    SessionWorld world = base_;
    FakeCoordinator coordinator(world.blobs, assignments_);
    auto storage = std::make_unique<MemoryDeviceStorage>();
    for (int lives = 0;; ++lives) {
      ASSERT_LT(lives, 1000) << "no progress";
      Life life(world, coordinator, *storage, *examples_, cache_,
                [&] { return random.UniformBelow(4) == 0; });
      if (life.Run(static_cast<int64_t>(random.UniformBelow(30)))) break;
      storage = MemoryDeviceStorage::AfterCrash(*storage);
      world.now += absl::Seconds(random.UniformBelow(100));
    }
    EXPECT_EQ(coordinator.acknowledged(), expected_);
    EXPECT_EQ(coordinator.conflicts(), 0);
  }
}

}  // namespace
}  // namespace mledge
