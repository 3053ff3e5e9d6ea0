#ifndef MLEDGE_SIMULATION_PARTITION_FILES_H_
#define MLEDGE_SIMULATION_PARTITION_FILES_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/simulation/partitioner.h"
#include "mledge/v1/task.pb.h"

// A partition as an artefact: one index file a device, which real devices name
// in their data source, and a summary that says what they hold. Stateless.

namespace mledge {

struct PartitionSummary {
  struct Device {
    std::string id;
    int64_t examples = 0;
    // By class; empty for regression.
    std::vector<int64_t> labels;
    std::string file;         // in the folder
    std::string file_sha256;  // hexadecimal
  };
  std::string kind;  // "dirichlet, alpha 0.5, at least 1 example"
  uint64_t seed = 0;
  std::vector<Device> devices;
};

// Writes <directory>/<device id>.index for each device and
// <directory>/partition.json. Creates the folder. `labels` may be empty.
absl::StatusOr<PartitionSummary> WritePartition(
    const std::string& directory, const Partition& partition,
    const v1::Partition& kind, uint64_t seed, std::span<const int64_t> labels);

// "shards, 2 a device".
std::string DescribePartition(const v1::Partition& kind);

// A table for people: examples and label histogram of each device, at most
// `rows` of them.
std::string FormatSummary(const PartitionSummary& summary, size_t rows);

}  // namespace mledge

#endif  // MLEDGE_SIMULATION_PARTITION_FILES_H_
