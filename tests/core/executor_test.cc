#include "mledge/core/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>
#include <utility>
#include <vector>

namespace mledge {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

TEST(ManualExecutorTest, RunsNothingUntilAskedAndThenAlsoWhatThatSchedules) {
  ManualExecutor executor;
  std::vector<int> ran;
  executor.Schedule([&] {
    ran.push_back(1);
    executor.Schedule([&] { ran.push_back(3); });
  });
  executor.Schedule([&] { ran.push_back(2); });
  EXPECT_TRUE(ran.empty());
  EXPECT_EQ(executor.RunAll(), 3u);
  EXPECT_THAT(ran, ElementsAre(1, 2, 3));
  EXPECT_EQ(executor.RunAll(), 0u);
}

TEST(ThreadPoolTest, DestructorRunsEverythingAlsoWhatWorkSchedules) {
  std::atomic<int> ran = 0;
  {
    ThreadPool pool(3);
    for (int i = 0; i < 100; ++i) {
      pool.Schedule([&] {
        ++ran;
        pool.Schedule([&] { ++ran; });
      });
    }
  }
  EXPECT_EQ(ran, 200);
}

TEST(ThreadPoolTest, RunsOnStartOnceInEachThreadBeforeItsWork) {
  static thread_local int started = 0;
  std::atomic<int> starts = 0;
  std::atomic<int> unprepared = 0;
  {
    ThreadPool pool(4, "a name longer than fifteen", [&] {
      ++started;
      ++starts;
    });
    for (int i = 0; i < 100; ++i) {
      pool.Schedule([&] {
        if (started != 1) ++unprepared;
      });
    }
  }
  EXPECT_EQ(starts, 4);
  EXPECT_EQ(unprepared, 0);
}

TEST(ThreadPoolDeathTest, RefusesAPoolWithoutThreads) {
  EXPECT_DEATH(ThreadPool(0), "a pool of 0 threads");
}

// `ran` has no lock: ThreadSanitizer sees it if two pieces overlap.
TEST(SequentialExecutorTest, RunsOnePieceAtATimeInEachProducersOrder) {
  constexpr int kProducers = 4;
  constexpr int kPieces = 500;
  ThreadPool pool(4);
  std::vector<std::pair<int, int>> ran;
  {
    SequentialExecutor executor(&pool);
    std::vector<std::thread> producers;
    for (int producer = 0; producer < kProducers; ++producer) {
      producers.emplace_back([&, producer] {
        for (int piece = 0; piece < kPieces; ++piece) {
          executor.Schedule(
              [&ran, producer, piece] { ran.emplace_back(producer, piece); });
        }
      });
    }
    for (std::thread& producer : producers) producer.join();
  }
  ASSERT_EQ(ran.size(), size_t{kProducers * kPieces});
  std::vector<int> next(kProducers, 0);
  for (const auto& [producer, piece] : ran) {
    EXPECT_EQ(piece, next[static_cast<size_t>(producer)]++);
  }
}

TEST(SequentialExecutorTest, WorkThatSchedulesRunsAfterThePieceItIsIn) {
  InlineExecutor base;
  std::vector<int> ran;
  SequentialExecutor executor(&base);
  executor.Schedule([&] {
    executor.Schedule([&] { ran.push_back(2); });
    ran.push_back(1);
  });
  EXPECT_THAT(ran, ElementsAre(1, 2));
}

TEST(SequentialExecutorTest, DestructorWaitsAndFreesWhatWorkHeld) {
  ThreadPool pool(2);
  for (int i = 0; i < 200; ++i) {
    auto held = std::make_shared<int>(0);
    std::weak_ptr<int> watch = held;
    {
      SequentialExecutor executor(&pool);
      executor.Schedule([held] { ++*held; });
      executor.Schedule([held] { ++*held; });
    }
    EXPECT_EQ(*held, 2);
    held.reset();
    ASSERT_TRUE(watch.expired());
  }
}

TEST(ParallelForTest, CoversEveryIndexOnce) {
  ThreadPool pool(3);
  for (const int64_t count : {1, 7, 10, 1000}) {
    std::vector<int> visits(static_cast<size_t>(count), 0);
    ParallelFor(&pool, count, 10, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
    });
    EXPECT_THAT(visits, Each(1)) << count;
  }
}

TEST(ParallelForTest, SplitsAlikeWithAndWithoutAPool) {
  using Ranges = std::set<std::pair<int64_t, int64_t>>;
  const auto split = [](ThreadPool* pool) {
    Mutex mutex;
    Ranges ranges;
    ParallelFor(pool, 25, 10, [&](int64_t begin, int64_t end) {
      MutexLock lock(&mutex);
      ranges.emplace(begin, end);
    });
    return ranges;
  };
  ThreadPool pool(4);
  const Ranges expected = {{0, 10}, {10, 20}, {20, 25}};
  EXPECT_EQ(split(nullptr), expected);
  EXPECT_EQ(split(&pool), expected);
}

TEST(ParallelForTest, DoesNothingForNothing) {
  ParallelFor(nullptr, 0, 10, [](int64_t, int64_t) { FAIL(); });
}

TEST(ParallelForTest, MayBeNestedOnOnePool) {
  ThreadPool pool(2);
  std::atomic<int64_t> sum = 0;
  ParallelFor(&pool, 8, 1, [&](int64_t, int64_t) {
    ParallelFor(&pool, 8, 1, [&](int64_t begin, int64_t) { sum += begin; });
  });
  EXPECT_EQ(sum, 8 * 28);
}

}  // namespace
}  // namespace mledge
