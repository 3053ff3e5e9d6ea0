#include "mledge/client/retry_policy.h"

#include <gtest/gtest.h>

#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

TrainingRandom Jitter(uint64_t seed) {
  return TrainingRandom(
      TrainingRandom::Stream{.task_seed = seed, .purpose = "test"});
}

TEST(RetryBackoffTest, PausesStayWithinTheGrowingCeiling) {
  const uint64_t seed = TestSeed(1);
  const auto trace = TraceSeed(seed);
  RetryBackoff backoff({.minimum = absl::Milliseconds(10),
                        .initial = absl::Seconds(1),
                        .maximum = absl::Seconds(20)},
                       Jitter(seed));
  absl::Duration ceiling = absl::Seconds(1);
  for (int i = 0; i < 100; ++i) {
    const absl::Duration pause = backoff.Next();
    EXPECT_GE(pause, absl::Milliseconds(10));
    EXPECT_LE(pause, std::min(ceiling, absl::Seconds(20)));
    if (ceiling < absl::Seconds(20)) ceiling *= 2;
  }
  EXPECT_EQ(backoff.failures(), 100);
}

TEST(RetryBackoffTest, JitterSpreadsDevices) {
  RetryBackoff one({}, Jitter(1));
  RetryBackoff other({}, Jitter(2));
  EXPECT_NE(one.Next(), other.Next());
}

TEST(RetryBackoffTest, SameStreamGivesSamePauses) {
  RetryBackoff one({}, Jitter(1));
  RetryBackoff same({}, Jitter(1));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(one.Next(), same.Next());
}

TEST(RetryBackoffTest, SuccessStartsOver) {
  RetryBackoff backoff({.minimum = absl::ZeroDuration(),
                        .initial = absl::Seconds(1),
                        .maximum = absl::Hours(1)},
                       Jitter(3));
  for (int i = 0; i < 10; ++i) backoff.Next();
  backoff.Reset();
  EXPECT_LE(backoff.Next(), absl::Seconds(1));
}

TEST(PermanentFailuresTest, NetworkTroubleIsNeverPermanent) {
  for (const PermanentFailures& failures :
       {kPermanentCheckInFailures, kPermanentFetchFailures,
        kPermanentUploadFailures, kPermanentReportFailures}) {
    EXPECT_FALSE(failures.Contains(absl::StatusCode::kUnavailable));
    EXPECT_FALSE(failures.Contains(absl::StatusCode::kDeadlineExceeded));
    EXPECT_FALSE(failures.Contains(absl::StatusCode::kUnauthenticated));
    EXPECT_FALSE(failures.Contains(absl::StatusCode::kOk));
  }
}

TEST(PermanentFailuresTest, CheckInsAreAlwaysTriedAgain) {
  for (int code = 0; code <= 16; ++code) {
    EXPECT_FALSE(kPermanentCheckInFailures.Contains(
        static_cast<absl::StatusCode>(code)));
  }
}

TEST(PermanentFailuresTest, UnknownAssignmentEndsAnUpload) {
  EXPECT_TRUE(kPermanentUploadFailures.Contains(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace mledge
