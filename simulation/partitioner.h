#ifndef MLEDGE_SIMULATION_PARTITIONER_H_
#define MLEDGE_SIMULATION_PARTITIONER_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/client/example_store.h"
#include "mledge/v1/data.pb.h"
#include "mledge/v1/task.pb.h"

// Which device holds which examples: a data set divided among the devices of a
// fleet, as the `simulation.partition` section of a task says. The same task
// and data give the same shares in the simulator and in `mledge data
// partition`, whose index files real devices read (partition_files.h). Draws
// come from the task's public seed alone. Stateless; a Partition is a value.

namespace mledge {

class Partition {
 public:
  // Takes the shares, device by device, and sorts each.
  explicit Partition(const std::vector<std::vector<int64_t>>& shares);

  int64_t devices() const { return static_cast<int64_t>(begin_.size()) - 1; }
  // Positions in the data set, ascending.
  std::span<const int64_t> examples(int64_t device) const {
    return std::span<const int64_t>(positions_)
        .subspan(begin_[device], begin_[device + 1] - begin_[device]);
  }
  // Of all devices together.
  int64_t total() const { return static_cast<int64_t>(positions_.size()); }

 private:
  std::vector<int64_t> positions_;
  std::vector<int64_t> begin_;  // one more than devices
};

struct PartitionRequest {
  v1::Partition kind;  // with every default written out
  // Ignored for a partition by a column, which has as many as there are values.
  int64_t devices = 0;
  uint64_t seed = 1;
  // Class of each example; not needed for IID and by column.
  std::span<const int64_t> labels;
  // Value of the column of each example; by column only.
  std::span<const std::string> column_values;
  int64_t examples = 0;
};

// Every device has an example. INVALID_ARGUMENT: fewer examples than devices
// (or shards), no labels where they are needed, more labels a device than there
// are, labels that would belong to nobody. RESOURCE_EXHAUSTED: no draw from the
// Dirichlet gave every device its minimum.
absl::StatusOr<Partition> MakePartition(const PartitionRequest& request);

// The class labels of all examples, or none for regression.
absl::StatusOr<std::vector<int64_t>> ClassLabels(const ExampleStore& store);

// Reads what the kind needs from `store` and, by column, from the source's CSV
// file, then calls MakePartition.
absl::StatusOr<Partition> PartitionExamples(const v1::Simulation& simulation,
                                            uint64_t seed,
                                            const ExampleStore& store);

// "device-007" of 10 or 100 devices, "device-0007" of 10,000: at least three
// digits, as many as the last device needs. The ids by which the simulator and
// the index files know devices; certificates of a real fleet that is to be
// compared carry the same.
std::string SimulatedDeviceId(int64_t index, int64_t devices);

}  // namespace mledge

#endif  // MLEDGE_SIMULATION_PARTITIONER_H_
