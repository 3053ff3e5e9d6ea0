// The integers of a sum depend on which updates are in it, and on nothing else;
// and they are the right ones: an exact reference in 128 bits says so.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "mledge/aggregation/aggregator.h"
#include "mledge/aggregation/fixed_point.h"
#include "mledge/aggregation/internal/fold_kernel.h"
#include "mledge/core/training_random.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

// Not a multiple of any vector's or range's width.
constexpr int64_t kSize = 150001;
constexpr int64_t kUpdates = 23;
constexpr int64_t kWeightBound = 100000;

struct Fleet {
  std::vector<Update> updates;
  std::vector<UpdateView> views;
};

AggregationSpec Spec(int64_t maximum_updates = kUpdates) {
  return TrainingAggregationSpec(kSize, 4, kWeightBound, false,
                                 maximum_updates);
}

Fleet MakeFleet(uint64_t seed) {
  Fleet fleet;
  for (int64_t u = 0; u < kUpdates; ++u) {
    TrainingRandom random(
        {.task_seed = seed, .ordinal = u, .purpose = "updates"});
    Update update;
    UpdateSection section{std::string(kDeltaSection), AlignedFloats(kSize)};
    for (float& value : section.values.span()) {
      // All magnitudes from the bound down to the smallest floats.
      const float sign = (random.NextU32() & 1) != 0 ? 1.0F : -1.0F;
      value = sign * std::ldexp(1 + random.UniformFloat(),
                                1 - static_cast<int>(random.UniformBelow(64)));
    }
    section.values.span()[0] = 4;
    section.values.span()[1] = -4;
    section.values.span()[2] = std::numeric_limits<float>::denorm_min();
    update.sections.push_back(std::move(section));
    update.weight =
        u == 0 ? kWeightBound
               : 1 + static_cast<int64_t>(random.UniformBelow(kWeightBound));
    update.scalars = {
        {std::string(kExamplesScalar), static_cast<double>(update.weight)},
        {std::string(kLossSumScalar), random.Normal() * 1e4},
        {std::string(kMetricSumScalar), random.UniformDouble()}};
    fleet.updates.push_back(std::move(update));
  }
  for (const Update& update : fleet.updates) {
    fleet.views.push_back(UpdateView::Of(update, {}));
  }
  return fleet;
}

std::unique_ptr<Aggregator> NewAggregator() {
  auto aggregator = Aggregator::Create(Spec());
  EXPECT_THAT(aggregator, IsOk());
  return *std::move(aggregator);
}

class AggregatorPropertyTest : public ::testing::Test {
 protected:
  AggregatorPropertyTest() : trace_(TraceSeed(seed_)) {}

  // The fleet in the given order, in groups of random sizes.
  void FoldInGroups(const std::vector<size_t>& order, TrainingRandom& random,
                    ThreadPool* pool, Aggregator& into) {
    for (size_t first = 0; first < order.size();) {
      const size_t size =
          std::min<size_t>(1 + random.UniformBelow(9), order.size() - first);
      std::vector<const UpdateView*> group;
      for (size_t i = first; i < first + size; ++i) {
        group.push_back(&fleet_.views[order[i]]);
      }
      ASSERT_THAT(into.Fold(group, pool), IsOk());
      first += size;
    }
  }

  const uint64_t seed_ = TestSeed(2024);
  const ::testing::ScopedTrace trace_;
  const Fleet fleet_ = MakeFleet(seed_);
};

TEST_F(AggregatorPropertyTest, EqualsAnExactReference) {
  const auto aggregator = NewAggregator();
  std::vector<const UpdateView*> all;
  for (const UpdateView& view : fleet_.views) {
    ASSERT_THAT(aggregator->Validate(view), IsOk());
    all.push_back(&view);
  }
  ASSERT_THAT(aggregator->Fold(all), IsOk());
  const AggregationSum& sum = aggregator->sum();
  for (int64_t i = 0; i < kSize; ++i) {
    __int128 expected = 0;
    for (const Update& update : fleet_.updates) {
      // 80-bit products and the library's rounding: exact, and not the code
      // under test.
      const long double scaled = std::ldexp(
          static_cast<long double>(update.sections[0].values.span()[i]),
          sum.fraction_bits);
      expected += static_cast<__int128>(update.weight) *
                  static_cast<__int128>(std::nearbyintl(scaled));
    }
    ASSERT_TRUE(expected == sum.sections[0].integers[i]) << i;
  }
  EXPECT_EQ(sum.count, kUpdates);
}

TEST_F(AggregatorPropertyTest, AnyOrderGroupingAndThreadsGiveTheSameIntegers) {
  TrainingRandom random({.task_seed = seed_, .purpose = "orders"});
  std::vector<size_t> order(kUpdates);
  std::iota(order.begin(), order.end(), size_t{0});
  ThreadPool pool(3);
  const auto reference = NewAggregator();
  FoldInGroups(order, random, nullptr, *reference);
  for (int trial = 0; trial < 8; ++trial) {
    random.Shuffle(std::span(order));
    const auto aggregator = NewAggregator();
    FoldInGroups(order, random, trial % 2 == 0 ? &pool : nullptr, *aggregator);
    EXPECT_EQ(aggregator->sum(), reference->sum());
  }
}

TEST_F(AggregatorPropertyTest, AnySplitOverMachinesAndRestartsGivesTheSame) {
  TrainingRandom random({.task_seed = seed_, .purpose = "splits"});
  std::vector<size_t> order(kUpdates);
  std::iota(order.begin(), order.end(), size_t{0});
  const auto reference = NewAggregator();
  FoldInGroups(order, random, nullptr, *reference);
  for (int trial = 0; trial < 4; ++trial) {
    random.Shuffle(std::span(order));
    const size_t machines = 2 + random.UniformBelow(3);
    auto total = NewAggregator();
    for (size_t m = 0; m < machines; ++m) {
      std::vector<size_t> part;
      for (size_t i = m; i < order.size(); i += machines) {
        part.push_back(order[i]);
      }
      const auto worker = NewAggregator();
      FoldInGroups(part, random, nullptr, *worker);
      ASSERT_THAT(total->Merge(worker->sum()), IsOk());
      // The coordinator dies here and comes back from its checkpoint.
      const std::string checkpoint = total->Serialize();
      total = NewAggregator();
      ASSERT_THAT(total->Restore(checkpoint), IsOk());
    }
    EXPECT_EQ(total->sum(), reference->sum());
  }
}

TEST_F(AggregatorPropertyTest, WorstCaseDoesNotOverflow) {
  const AggregationSpec spec =
      TrainingAggregationSpec(1, 16, (int64_t{1} << 20), false, 1000);
  auto aggregator = Aggregator::Create(spec);
  ASSERT_THAT(aggregator, IsOk());
  Update update = fleet_.updates[0];
  update.sections[0].values = AlignedFloats(1);
  update.sections[0].values.span()[0] = -16;
  update.weight = int64_t{1} << 20;
  for (UpdateScalar& scalar : update.scalars) {
    scalar.value = ScalarBound(1000);
  }
  const UpdateView view = UpdateView::Of(update, {});
  ASSERT_THAT((*aggregator)->Validate(view), IsOk());
  for (int i = 0; i < 1000; ++i) {
    const UpdateView* one[] = {&view};
    ASSERT_THAT((*aggregator)->Fold(one), IsOk());
  }
  const AggregationSum& sum = (*aggregator)->sum();
  EXPECT_EQ(sum.sections[0].integers[0],
            -1000 * ((int64_t{16} << 20) << sum.fraction_bits));
  EXPECT_EQ(sum.Scalar(kLossSumScalar), 1000 * ScalarBound(1000));
  std::vector<float> mean(1);
  ASSERT_THAT(Mean(sum, kDeltaSection, mean), IsOk());
  EXPECT_EQ(mean[0], -16);
}

TEST_F(AggregatorPropertyTest, ScalarReferenceLoopEqualsTheVectorUnit) {
  SCOPED_TRACE(aggregation_internal::VectorUnit());
  TrainingRandom random({.task_seed = seed_, .purpose = "lengths"});
  for (int trial = 0; trial < 50; ++trial) {
    const size_t size = random.UniformBelow(300);
    const size_t offset = random.UniformBelow(16);  // any alignment
    const size_t updates = 1 + random.UniformBelow(9);
    std::vector<aggregation_internal::WeightedValues> values;
    std::vector<int64_t> expected(size, trial);
    for (size_t u = 0; u < updates; ++u) {
      const float* x = fleet_.views[u].sections[0].values.data() + offset;
      values.push_back({x, fleet_.updates[u].weight});
      for (size_t i = 0; i < size; ++i) {
        expected[i] += fleet_.updates[u].weight * std::llrint(x[i] * 0x1p37);
      }
    }
    std::vector<int64_t> actual(size, trial);
    aggregation_internal::FoldValues(values, 0x1p37, actual.data(), size);
    EXPECT_EQ(actual, expected);
  }
}

}  // namespace
}  // namespace mledge
