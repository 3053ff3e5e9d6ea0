#include "mledge/aggregation/server_optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "mledge/core/training_random.h"
#include "mledge/core/update.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// `trainable` values, then two of an averaged buffer, then one frozen.
std::shared_ptr<const ParameterLayout> Layout(int64_t trainable = 2) {
  auto layout = ParameterLayout::Create(
      {{.name = "weight", .shape = {trainable}},
       {.name = "running_mean",
        .shape = {2},
        .role = ParameterRole::kAveragedBuffer},
       {.name = "table", .shape = {1}, .role = ParameterRole::kFrozen}});
  EXPECT_THAT(layout, IsOk());
  return *std::move(layout);
}

// The sum whose mean is `mean`, of updates with weights adding up to 4.
AggregationSum SumWithMean(const std::vector<double>& mean) {
  AggregationSum sum;
  sum.fraction_bits = 30;
  sum.weight_sum = 4;
  sum.count = 2;
  sum.sections.push_back({std::string(kDeltaSection), {}});
  for (double value : mean) {
    sum.sections[0].integers.push_back(std::llrint(value * 0x1p32));
  }
  return sum;
}

ParameterVector Parameters(const std::vector<float>& values) {
  auto parameters = ParameterVector::FromValues(
      Layout(static_cast<int64_t>(values.size()) - 3), values);
  EXPECT_THAT(parameters, IsOk());
  return *std::move(parameters);
}

std::unique_ptr<ServerOptimizer> Make(const ServerOptimizerOptions& options,
                                      int64_t trainable = 2) {
  auto optimizer = ServerOptimizer::Create(options, Layout(trainable));
  EXPECT_THAT(optimizer, IsOk());
  return *std::move(optimizer);
}

TEST(ServerOptimizerTest, MeansAreInTheSumsUnit) {
  ParameterVector parameters = Parameters({1, 2, 10, 20, 99});
  AggregationSum sum = SumWithMean({0.5, -0.25, 1, -1});
  sum.unit = 4;
  ASSERT_THAT(Make(ServerSgdOptions{})->Apply(sum, &parameters), IsOk());
  EXPECT_EQ(parameters.values()[0], 3.0F);
  std::vector<float> mean(4);
  ASSERT_THAT(Mean(sum, kDeltaSection, mean), IsOk());
  EXPECT_EQ(mean[1], -1.0F);
}

TEST(ServerOptimizerTest, PlainSgdIsFederatedAveraging) {
  ParameterVector parameters = Parameters({1, 2, 10, 20, 99});
  ASSERT_THAT(Make(ServerSgdOptions{})
                  ->Apply(SumWithMean({0.5, -0.25, 1, -1}), &parameters),
              IsOk());
  EXPECT_THAT(parameters.values(), ElementsAre(1.5, 1.75, 11, 19, 99));
}

TEST(ServerOptimizerTest, LearningRateScalesTrainableValuesOnly) {
  ParameterVector parameters = Parameters({1, 2, 10, 20, 99});
  ASSERT_THAT(Make(ServerSgdOptions{.learning_rate = 2})
                  ->Apply(SumWithMean({0.5, -0.25, 1, -1}), &parameters),
              IsOk());
  EXPECT_THAT(parameters.values(), ElementsAre(2, 1.5, 11, 19, 99));
}

TEST(ServerOptimizerTest, MomentumAccumulates) {
  ParameterVector parameters = Parameters({0, 0, 0, 0, 0});
  const auto optimizer =
      Make(ServerSgdOptions{.learning_rate = 1, .momentum = 0.5});
  for (int round = 0; round < 3; ++round) {
    ASSERT_THAT(optimizer->Apply(SumWithMean({1, -2, 1, 0}), &parameters),
                IsOk());
  }
  // u = 1, 1.5, 1.75; the buffer takes the mean thrice.
  EXPECT_THAT(parameters.values(), ElementsAre(4.25, -8.5, 3, 0, 0));
}

TEST(ServerOptimizerTest, AdamFollowsThePapersRecurrence) {
  const ServerAdamOptions options{
      .learning_rate = 0.1, .beta1 = 0.9, .beta2 = 0.99, .tau = 0.001};
  ParameterVector parameters = Parameters({1, 1, 0, 0, 5});
  const auto optimizer = Make(options);
  const std::vector<double> deltas = {0.5, -0.125, 0.25};
  double x = 1;
  double m = 0;
  double v = 0.001 * 0.001;
  for (double delta : deltas) {
    ASSERT_THAT(
        optimizer->Apply(SumWithMean({delta, 0, delta, 0}), &parameters),
        IsOk());
    m = 0.9 * m + 0.1 * delta;
    v = 0.99 * v + 0.01 * delta * delta;
    x += 0.1 * m / (std::sqrt(v) + 0.001);
    EXPECT_NEAR(parameters.values()[0], x, 1e-6);
  }
  EXPECT_EQ(parameters.values()[1], 1);
  EXPECT_EQ(parameters.values()[2], 0.625);  // plain mean
  EXPECT_EQ(parameters.values()[4], 5);
}

TEST(ServerOptimizerTest, ThreadsDoNotChangeTheBits) {
  constexpr int64_t kTrainable = 100001;
  TrainingRandom random({.task_seed = 1, .purpose = "optimizer"});
  std::vector<float> start(kTrainable + 3);
  for (float& value : start) value = static_cast<float>(random.Normal());
  std::vector<double> mean(kTrainable + 2);
  for (double& value : mean) value = random.Normal();
  const AggregationSum sum = SumWithMean(mean);
  ThreadPool pool(3);
  for (const ServerOptimizerOptions& options :
       {ServerOptimizerOptions(ServerSgdOptions{.momentum = 0.9}),
        ServerOptimizerOptions(ServerAdamOptions{.learning_rate = 0.01})}) {
    ParameterVector alone = Parameters(start);
    ParameterVector together = Parameters(start);
    const auto one = Make(options, kTrainable);
    const auto many = Make(options, kTrainable);
    for (int round = 0; round < 2; ++round) {
      ASSERT_THAT(one->Apply(sum, &alone), IsOk());
      ASSERT_THAT(many->Apply(sum, &together, &pool), IsOk());
    }
    EXPECT_EQ(alone.ContentHash(), together.ContentHash());
    EXPECT_EQ(one->Serialize(), many->Serialize());
  }
}

TEST(ServerOptimizerTest, GoesOnFromSavedState) {
  for (const ServerOptimizerOptions& options :
       {ServerOptimizerOptions(ServerSgdOptions{}),
        ServerOptimizerOptions(ServerSgdOptions{.momentum = 0.9}),
        ServerOptimizerOptions(ServerAdamOptions{.learning_rate = 0.01})}) {
    ParameterVector uninterrupted = Parameters({1, 2, 3, 4, 5});
    ParameterVector resumed = Parameters({1, 2, 3, 4, 5});
    const auto whole = Make(options);
    auto part = Make(options);
    for (int round = 0; round < 4; ++round) {
      const AggregationSum sum = SumWithMean({0.1 * round, -0.3, 1, 1});
      ASSERT_THAT(whole->Apply(sum, &uninterrupted), IsOk());
      ASSERT_THAT(part->Apply(sum, &resumed), IsOk());
      const std::string state = part->Serialize();
      part = Make(options);
      ASSERT_THAT(part->Restore(state), IsOk());
    }
    EXPECT_EQ(uninterrupted.ContentHash(), resumed.ContentHash());
  }
}

TEST(ServerOptimizerTest, RefusesDamagedAndForeignState) {
  const auto optimizer = Make(ServerAdamOptions{.learning_rate = 0.01});
  const std::string state = optimizer->Serialize();
  for (size_t i = 0; i < state.size(); ++i) {
    std::string damaged = state;
    damaged[i] ^= 1;
    EXPECT_THAT(optimizer->Restore(damaged), StatusIs(StatusCode::kDataLoss))
        << i;
  }
  EXPECT_THAT(optimizer->Restore(""), StatusIs(StatusCode::kDataLoss));
  EXPECT_THAT(Make(ServerAdamOptions{.learning_rate = 0.02})->Restore(state),
              StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(Make(ServerSgdOptions{.momentum = 0.5})->Restore(state),
              StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(Make(ServerAdamOptions{.learning_rate = 0.01}, 3)->Restore(state),
              StatusIs(StatusCode::kFailedPrecondition));
}

TEST(ServerOptimizerTest, RefusesAnEmptySumAndOtherShapes) {
  ParameterVector parameters = Parameters({1, 2, 3, 4, 5});
  const auto optimizer = Make(ServerSgdOptions{});
  AggregationSum empty = SumWithMean({0, 0, 0, 0});
  empty.weight_sum = 0;
  EXPECT_THAT(optimizer->Apply(empty, &parameters),
              StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(optimizer->Apply(SumWithMean({0, 0, 0}), &parameters),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("delta")));
  ParameterVector other = Parameters({1, 2, 3, 4, 5, 6});
  EXPECT_THAT(optimizer->Apply(SumWithMean({0, 0, 0, 0}), &other),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("layout")));
}

TEST(ServerOptimizerTest, NamesTheEntryThatDiverged) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  ParameterVector parameters = Parameters({1, kLargest, 0, 0, 0});
  EXPECT_THAT(Make(ServerSgdOptions{.learning_rate = 1e38})
                  ->Apply(SumWithMean({0, 1, 0, 0}), &parameters),
              StatusIs(StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("diverged"), HasSubstr("weight"))));
}

TEST(ServerOptimizerTest, RefusesBadOptions) {
  for (double bad : {0.0, -1.0, kNan, kInfinity}) {
    EXPECT_THAT(ServerOptimizer::Create(ServerSgdOptions{.learning_rate = bad},
                                        Layout()),
                StatusIs(StatusCode::kInvalidArgument));
    EXPECT_THAT(
        ServerOptimizer::Create(
            ServerAdamOptions{.learning_rate = 1, .tau = bad}, Layout()),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("tau")));
  }
  for (double bad : {-0.1, 1.0, kNan, kInfinity}) {
    EXPECT_THAT(
        ServerOptimizer::Create(ServerSgdOptions{.momentum = bad}, Layout()),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("momentum")));
    EXPECT_THAT(
        ServerOptimizer::Create(
            ServerAdamOptions{.learning_rate = 1, .beta1 = bad}, Layout()),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("beta1")));
    EXPECT_THAT(
        ServerOptimizer::Create(
            ServerAdamOptions{.learning_rate = 1, .beta2 = bad}, Layout()),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("beta2")));
  }
}

}  // namespace
}  // namespace mledge
