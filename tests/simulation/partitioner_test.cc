#include "mledge/simulation/partitioner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "mledge/client/subset_store.h"
#include "mledge/core/file.h"
#include "mledge/simulation/partition_files.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

// `count` labels of ten classes, unevenly and in no order.
std::vector<int64_t> Labels(int64_t count) {
  std::vector<int64_t> labels(count);
  for (int64_t i = 0; i < count; ++i) labels[i] = (i * i + i / 7) % 10;
  return labels;
}

v1::Partition Iid() {
  v1::Partition kind;
  kind.mutable_iid();
  return kind;
}
v1::Partition Shards(int64_t per_device) {
  v1::Partition kind;
  kind.mutable_shards()->set_shards_per_device(per_device);
  return kind;
}
v1::Partition LabelsKind(int64_t per_device) {
  v1::Partition kind;
  kind.mutable_labels()->set_labels_per_device(per_device);
  return kind;
}
v1::Partition Dirichlet(double alpha, int64_t minimum = 1) {
  v1::Partition kind;
  kind.mutable_dirichlet()->set_alpha(alpha);
  kind.mutable_dirichlet()->set_minimum_examples(minimum);
  return kind;
}

absl::StatusOr<Partition> Make(const v1::Partition& kind,
                               const std::vector<int64_t>& labels,
                               int64_t devices, uint64_t seed = 1) {
  return MakePartition({.kind = kind,
                        .devices = devices,
                        .seed = seed,
                        .labels = labels,
                        .examples = static_cast<int64_t>(labels.size())});
}

// Every example belongs to exactly one device, every device has one.
void ExpectPartitionOf(const Partition& partition, int64_t examples,
                       int64_t devices) {
  EXPECT_EQ(partition.devices(), devices);
  EXPECT_EQ(partition.total(), examples);
  std::vector<int> owners(examples, 0);
  for (int64_t d = 0; d < partition.devices(); ++d) {
    EXPECT_FALSE(partition.examples(d).empty()) << d;
    EXPECT_TRUE(std::is_sorted(partition.examples(d).begin(),
                               partition.examples(d).end()));
    for (const int64_t position : partition.examples(d)) {
      ASSERT_GE(position, 0);
      ASSERT_LT(position, examples);
      ++owners[position];
    }
  }
  EXPECT_THAT(owners, Each(1));
}

std::vector<std::vector<int64_t>> AsVectors(const Partition& partition) {
  std::vector<std::vector<int64_t>> shares;
  for (int64_t d = 0; d < partition.devices(); ++d) {
    shares.emplace_back(partition.examples(d).begin(),
                        partition.examples(d).end());
  }
  return shares;
}

TEST(PartitionerTest, EveryKindIsAPartition) {
  const uint64_t first = TestSeed(1);
  const auto trace = TraceSeed(first);
  const std::vector<int64_t> labels = Labels(3001);
  for (const v1::Partition& kind :
       {Iid(), Shards(2), Shards(3), LabelsKind(1), LabelsKind(3),
        LabelsKind(10), Dirichlet(0.1), Dirichlet(0.5), Dirichlet(100, 20)}) {
    for (uint64_t seed = first; seed < first + 5; ++seed) {
      const absl::StatusOr<Partition> partition = Make(kind, labels, 30, seed);
      ASSERT_THAT(partition, IsOk()) << kind.ShortDebugString();
      ExpectPartitionOf(*partition, 3001, 30);
    }
  }
}

TEST(PartitionerTest, SameSeedSameSharesOtherSeedOthers) {
  const std::vector<int64_t> labels = Labels(2000);
  for (const v1::Partition& kind :
       {Iid(), Shards(2), LabelsKind(2), Dirichlet(0.5)}) {
    const auto once = Make(kind, labels, 20, 7);
    const auto again = Make(kind, labels, 20, 7);
    const auto other = Make(kind, labels, 20, 8);
    EXPECT_EQ(AsVectors(*once), AsVectors(*again)) << kind.ShortDebugString();
    EXPECT_NE(AsVectors(*once), AsVectors(*other)) << kind.ShortDebugString();
  }
}

// Shares are part of published results: they must not move from release to
// release. IID and shards draw integers only, so they are equal on every
// machine.
TEST(PartitionerTest, SharesDoNotChangeBetweenReleases) {
  const std::vector<int64_t> labels = Labels(20);
  EXPECT_EQ(AsVectors(*Make(Iid(), labels, 4, 1)),
            (std::vector<std::vector<int64_t>>{{1, 7, 12, 16, 17},
                                               {3, 9, 11, 13, 19},
                                               {0, 6, 10, 14, 18},
                                               {2, 4, 5, 8, 15}}));
  EXPECT_EQ(AsVectors(*Make(Shards(2), labels, 4, 1)),
            (std::vector<std::vector<int64_t>>{{1, 5, 8, 10, 13},
                                               {4, 6, 12, 15, 18},
                                               {0, 7, 9, 17},
                                               {2, 3, 11, 14, 16, 19}}));
}

TEST(PartitionerTest, IidSharesAreEvenInSize) {
  const auto partition = Make(Iid(), Labels(1003), 10);
  for (int64_t d = 0; d < 10; ++d) {
    EXPECT_THAT(partition->examples(d).size(),
                testing::AnyOf(testing::Eq(100), testing::Eq(101)));
  }
}

TEST(PartitionerTest, ShardsHoldFewLabels) {
  std::vector<int64_t> labels(6000);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = i % 10;
  const auto partition = Make(Shards(2), labels, 100);
  ASSERT_THAT(partition, IsOk());
  for (int64_t d = 0; d < 100; ++d) {
    std::set<int64_t> held;
    for (const int64_t position : partition->examples(d)) {
      held.insert(labels[position]);
    }
    // 200 shards of 30 examples: ten labels of 600 are cut without a rest.
    EXPECT_LE(held.size(), 2u);
    EXPECT_EQ(partition->examples(d).size(), 60u);
  }
}

TEST(PartitionerTest, LabelsKindGivesEachDeviceSoManyLabels) {
  const std::vector<int64_t> labels = Labels(5000);
  std::set<int64_t> present(labels.begin(), labels.end());
  for (const int64_t per_device : {1, 2, 3}) {
    const auto partition = Make(LabelsKind(per_device), labels, 50);
    ASSERT_THAT(partition, IsOk());
    for (int64_t d = 0; d < 50; ++d) {
      std::set<int64_t> held;
      for (const int64_t position : partition->examples(d)) {
        held.insert(labels[position]);
      }
      EXPECT_EQ(held.size(), static_cast<size_t>(per_device));
    }
  }
}

TEST(PartitionerTest, DirichletKeepsItsMinimum) {
  const std::vector<int64_t> labels = Labels(5000);
  const auto partition = Make(Dirichlet(0.3, 40), labels, 20);
  ASSERT_THAT(partition, IsOk());
  for (int64_t d = 0; d < 20; ++d) {
    EXPECT_GE(partition->examples(d).size(), 40u);
  }
}

// One label, D devices, alpha: a device's part of the label is Beta(alpha,
// (D−1)·alpha) with variance (D−1) / (D²·(D·alpha + 1)). Over 400 seeds the
// variance of device 3's part is compared with that; the standard error of such
// a variance is var·sqrt((kurtosis−1)/n). For alpha 0.5 and D = 8 the excess
// kurtosis is 4.8, so se = var·sqrt(6.8/400) = 0.130·var: a tolerance of
// 5·0.13 = 0.65 raises a false alarm with a probability below 1e-5 (the mean,
// 5 standard errors, below 1e-6). The minimum of one example in 100,000 hardly
// cuts anything off.
TEST(PartitionerTest, DirichletHasItsMeanAndVariance) {
  constexpr int kSeeds = 400;
  constexpr int64_t kDevices = 8;
  constexpr double kAlpha = 0.5;
  constexpr int64_t kExamples = 2000;
  const std::vector<int64_t> labels(kExamples, 0);
  std::vector<double> parts;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    v1::Partition kind = Dirichlet(kAlpha);
    const auto partition = Make(kind, labels, kDevices, seed);
    ASSERT_THAT(partition, IsOk());
    parts.push_back(static_cast<double>(partition->examples(3).size()) /
                    kExamples);
  }
  double mean = 0;
  for (const double part : parts) mean += part / kSeeds;
  double variance = 0;
  for (const double part : parts) {
    variance += (part - mean) * (part - mean) / (kSeeds - 1);
  }
  const double expected_variance =
      (kDevices - 1.0) / (kDevices * kDevices * (kDevices * kAlpha + 1));
  EXPECT_NEAR(mean, 1.0 / kDevices, 5 * std::sqrt(expected_variance / kSeeds));
  EXPECT_NEAR(variance, expected_variance, 0.65 * expected_variance);
}

TEST(PartitionerTest, ByColumnMakesOneDeviceAValue) {
  v1::Partition kind;
  kind.mutable_by_column()->set_column("user");
  const std::vector<std::string> values = {"b", "a", "b", "c", "a"};
  const auto partition =
      MakePartition({.kind = kind, .column_values = values, .examples = 5});
  ASSERT_THAT(partition, IsOk());
  EXPECT_EQ(AsVectors(*partition),
            (std::vector<std::vector<int64_t>>{{0, 2}, {1, 4}, {3}}));
}

TEST(PartitionerTest, RefusesMoreDevicesThanExamples) {
  for (const v1::Partition& kind : {Iid(), Shards(1), Dirichlet(1)}) {
    EXPECT_THAT(
        Make(kind, Labels(9), 10),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("9 examples")))
        << kind.ShortDebugString();
  }
  EXPECT_THAT(Make(Iid(), {}, 1), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(PartitionerTest, RefusesNoDevices) {
  EXPECT_THAT(Make(Iid(), Labels(10), 0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("simulation.devices")));
}

TEST(PartitionerTest, RefusesLabelCountsThatCannotBe) {
  EXPECT_THAT(Make(LabelsKind(11), Labels(1000), 10),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("labels_per_device")));
  EXPECT_THAT(
      Make(LabelsKind(2), {0, 1, 2, 3, 4, 5}, 2),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("to nobody")));
}

TEST(PartitionerTest, RefusesToDivideByLabelsThatAreNotThere) {
  EXPECT_THAT(
      MakePartition({.kind = Dirichlet(1), .devices = 2, .examples = 9}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("class label")));
}

TEST(PartitionerTest, GivesUpOnDirichletThatStarvesDevices) {
  EXPECT_THAT(
      Make(Dirichlet(0.001, 5), Labels(500), 50),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("raise alpha")));
}

TEST(PartitionerTest, NamesDevicesAlikeWhateverTheirNumber) {
  EXPECT_EQ(SimulatedDeviceId(7, 10), "device-007");
  EXPECT_EQ(SimulatedDeviceId(999, 1000), "device-999");
  EXPECT_EQ(SimulatedDeviceId(7, 1001), "device-0007");
}

TEST(PartitionFilesTest, IndexFilesHoldTheShares) {
  TempDirectory folder;
  const std::vector<int64_t> labels = Labels(500);
  const auto partition = Make(Dirichlet(0.5), labels, 5);
  const auto summary = WritePartition(folder.File("shares"), *partition,
                                      Dirichlet(0.5), 1, labels);
  ASSERT_THAT(summary, IsOk());
  ASSERT_EQ(summary->devices.size(), 5u);
  for (int64_t d = 0; d < 5; ++d) {
    const PartitionSummary::Device& device = summary->devices[d];
    const std::string path = folder.File("shares/" + device.file);
    const auto positions = ReadIndexFile(path, 500);
    ASSERT_THAT(positions, IsOk());
    EXPECT_TRUE(std::equal(positions->begin(), positions->end(),
                           partition->examples(d).begin(),
                           partition->examples(d).end()));
    EXPECT_EQ(Sha256Of(*ReadFile(path)).ToHex(), device.file_sha256);
    int64_t sum = 0;
    for (const int64_t count : device.labels) sum += count;
    EXPECT_EQ(sum, device.examples);
  }
  EXPECT_THAT(ReadFile(folder.File("shares/partition.json")),
              IsOkAndHolds(HasSubstr("\"device-004\"")));
  EXPECT_THAT(FormatSummary(*summary, 2), HasSubstr("and 3 more"));
}

}  // namespace
}  // namespace mledge
