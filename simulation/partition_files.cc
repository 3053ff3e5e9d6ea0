#include "mledge/simulation/partition_files.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "mledge/client/subset_store.h"
#include "mledge/core/file.h"
#include "mledge/core/sha256.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "nlohmann/json.hpp"

namespace mledge {

std::string DescribePartition(const v1::Partition& kind) {
  switch (kind.kind_case()) {
    case v1::Partition::kShards:
      return StrCat("shards, ", kind.shards().shards_per_device(), " a device");
    case v1::Partition::kLabels:
      return StrCat("labels, ", kind.labels().labels_per_device(), " a device");
    case v1::Partition::kDirichlet:
      return StrCat("dirichlet, alpha ", kind.dirichlet().alpha(),
                    ", at least ", kind.dirichlet().minimum_examples(),
                    " examples a device");
    case v1::Partition::kByColumn:
      return StrCat("by column ", kind.by_column().column());
    case v1::Partition::kIid:
    case v1::Partition::KIND_NOT_SET:
      break;
  }
  return "iid";
}

absl::StatusOr<PartitionSummary> WritePartition(
    const std::string& directory, const Partition& partition,
    const v1::Partition& kind, uint64_t seed, std::span<const int64_t> labels) {
  MLEDGE_RETURN_IF_ERROR(EnsureWritableDirectory(directory));
  PartitionSummary summary{.kind = DescribePartition(kind), .seed = seed};
  const int64_t classes =
      labels.empty() ? 0 : *std::max_element(labels.begin(), labels.end()) + 1;
  nlohmann::ordered_json devices = nlohmann::ordered_json::array();
  for (int64_t d = 0; d < partition.devices(); ++d) {
    PartitionSummary::Device device{
        .id = SimulatedDeviceId(d, partition.devices()),
        .examples = static_cast<int64_t>(partition.examples(d).size()),
        .labels = std::vector<int64_t>(classes)};
    for (const int64_t position : partition.examples(d)) {
      if (!labels.empty()) ++device.labels[labels[position]];
    }
    device.file = StrCat(device.id, ".index");
    const std::string text =
        FormatIndexFile(partition.examples(d),
                        StrCat(device.id, ": ", summary.kind, ", seed ", seed));
    device.file_sha256 = Sha256Of(text).ToHex();
    MLEDGE_RETURN_IF_ERROR(
        WriteFileAtomically(StrCat(directory, "/", device.file), text));
    devices.push_back({{"id", device.id},
                       {"examples", device.examples},
                       {"labels", device.labels},
                       {"file", device.file},
                       {"sha256", device.file_sha256}});
    summary.devices.push_back(std::move(device));
  }
  const nlohmann::ordered_json json = {{"partition", summary.kind},
                                       {"seed", seed},
                                       {"examples", partition.total()},
                                       {"devices", std::move(devices)}};
  MLEDGE_RETURN_IF_ERROR(WriteFileAtomically(
      StrCat(directory, "/partition.json"), StrCat(json.dump(1), "\n")));
  return summary;
}

std::string FormatSummary(const PartitionSummary& summary, size_t rows) {
  std::string text =
      StrCat("partition: ", summary.kind, "; seed ", summary.seed, "\n");
  size_t id_width = 6;
  for (const PartitionSummary::Device& device : summary.devices) {
    id_width = std::max(id_width, device.id.size());
  }
  absl::StrAppendFormat(&text, "%-*s %9s  %s\n", static_cast<int>(id_width),
                        "device", "examples", "of each label");
  for (size_t d = 0; d < std::min(rows, summary.devices.size()); ++d) {
    const PartitionSummary::Device& device = summary.devices[d];
    absl::StrAppendFormat(&text, "%-*s %9d ", static_cast<int>(id_width),
                          device.id, device.examples);
    for (const int64_t count : device.labels) {
      absl::StrAppendFormat(&text, " %5d", count);
    }
    text += "\n";
  }
  if (summary.devices.size() > rows) {
    StrAppend(&text, "... and ", summary.devices.size() - rows, " more\n");
  }
  return text;
}

}  // namespace mledge
