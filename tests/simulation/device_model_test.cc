#include "mledge/simulation/device_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "mledge/simulation/deterministic_secret_random.h"
#include "mledge/simulation/event_queue.h"
#include "mledge/simulation/partitioner.h"

namespace mledge {
namespace {

using ::testing::ElementsAre;

v1::DeviceModel Model(double spread, double dropout = 0) {
  v1::DeviceModel model;
  model.set_seconds_per_example(0.5);
  model.set_download_bytes_per_second(1000);
  model.set_upload_bytes_per_second(100);
  model.set_spread(spread);
  model.set_dropout_probability(dropout);
  return model;
}

TEST(FleetModelTest, WithoutSpreadEveryDeviceHasTheMedians) {
  const DeviceSpeed speed = FleetModel(Model(0), 1).SpeedOf("device-004");
  EXPECT_EQ(speed.DownloadTime(5000), absl::Seconds(5));
  EXPECT_EQ(speed.UploadTime(50), absl::Milliseconds(500));
}

TEST(FleetModelTest, TrainingTimeFollowsThePlan) {
  const DeviceSpeed speed = FleetModel(Model(0), 1).SpeedOf("d");
  TrainingPlan plan{.epochs = 3, .batch_size = 10};
  EXPECT_EQ(speed.TrainingTime(plan, 40), absl::Seconds(60));
  plan.max_examples = 10;
  EXPECT_EQ(speed.TrainingTime(plan, 40), absl::Seconds(15));
  plan.epochs = 0;
  plan.steps = 7;
  EXPECT_EQ(speed.TrainingTime(plan, 40), absl::Seconds(35));
  plan.batch_size = 0;  // all of the ten
  EXPECT_EQ(speed.TrainingTime(plan, 40), absl::Seconds(35));
  plan.kind = TrainingPlan::Kind::kEvaluate;
  EXPECT_EQ(speed.TrainingTime(plan, 40), absl::Seconds(20));
}

// Of 1,000 log-normal factors with sigma 0.8 the mean of the logarithms has a
// standard error of 0.8/sqrt(1000) = 0.025 and their standard deviation one of
// 0.018; five of them each are a false alarm in about one run of a million.
TEST(FleetModelTest, SpreadIsLogNormalAroundTheMedian) {
  const FleetModel model(Model(0.8), 1);
  double mean = 0;
  double squares = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    const double factor =
        model.SpeedOf(SimulatedDeviceId(i, 1000)).seconds_per_example / 0.5;
    mean += std::log(factor) / 1000;
    squares += std::log(factor) * std::log(factor) / 1000;
  }
  EXPECT_NEAR(mean, 0, 0.125);
  EXPECT_NEAR(std::sqrt(squares - mean * mean), 0.8, 0.09);
}

TEST(FleetModelTest, SpeedIsTheDevicesOwnAndStays) {
  const FleetModel model(Model(0.8), 1);
  EXPECT_EQ(
      model.SpeedOf("device-001").seconds_per_example,
      FleetModel(Model(0.8), 1).SpeedOf("device-001").seconds_per_example);
  EXPECT_NE(model.SpeedOf("device-001").seconds_per_example,
            model.SpeedOf("device-002").seconds_per_example);
  EXPECT_NE(
      model.SpeedOf("device-001").seconds_per_example,
      FleetModel(Model(0.8), 2).SpeedOf("device-001").seconds_per_example);
}

// 2,000 draws with probability 0.3: standard error 0.0102, five of them.
TEST(FleetModelTest, VanishesWithTheGivenProbability) {
  const FleetModel model(Model(0, 0.3), 1);
  int vanished = 0;
  for (int64_t ordinal = 0; ordinal < 2000; ++ordinal) {
    const auto when = model.VanishesAt("device-001", ordinal);
    if (!when.has_value()) continue;
    ++vanished;
    EXPECT_GE(*when, 0);
    EXPECT_LT(*when, 1);
  }
  EXPECT_NEAR(vanished / 2000.0, 0.3, 0.052);
  EXPECT_FALSE(FleetModel(Model(0, 0), 1).VanishesAt("d", 0).has_value());
  EXPECT_TRUE(FleetModel(Model(0, 1), 1).VanishesAt("d", 0).has_value());
}

TEST(EventQueueTest, RunsByTimeThenInTheOrderPushed) {
  EventQueue queue(absl::UnixEpoch());
  std::vector<std::string> ran;
  const auto at = [&](int seconds, const std::string& name) {
    queue.Push(absl::UnixEpoch() + absl::Seconds(seconds),
               [&ran, name] { ran.push_back(name); });
  };
  at(5, "c");
  at(1, "a");
  at(5, "d");
  at(2, "b");
  queue.Push(absl::UnixEpoch() + absl::Seconds(5), [&] {
    ran.push_back("e");
    at(3, "f");  // that time has passed: it happens now
  });
  while (queue.RunNext()) {
  }
  EXPECT_THAT(ran, ElementsAre("a", "b", "c", "d", "e", "f"));
  EXPECT_EQ(queue.now(), absl::UnixEpoch() + absl::Seconds(5));
}

TEST(DeterministicSecretRandomTest, RepeatsItselfFromItsSeed) {
  DeterministicSecretRandom one(7);
  DeterministicSecretRandom same(7);
  DeterministicSecretRandom other(8);
  const std::string token = one.HexToken(16);
  EXPECT_EQ(token, same.HexToken(16));
  EXPECT_NE(token, other.HexToken(16));
  EXPECT_NE(token, one.HexToken(16));
}

}  // namespace
}  // namespace mledge
