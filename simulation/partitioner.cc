#include "mledge/simulation/partitioner.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "mledge/client/csv_source.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/core/training_random.h"

namespace mledge {
namespace {

using Shares = std::vector<std::vector<int64_t>>;

TrainingRandom RandomFor(const PartitionRequest& request,
                         std::string_view purpose, int64_t ordinal = 0) {
  return TrainingRandom(
      {.task_seed = request.seed, .ordinal = ordinal, .purpose = purpose});
}

// Where the `i`-th of `parts` even ranges over `count` begins.
int64_t EvenCut(int64_t count, int64_t parts, int64_t i) {
  return static_cast<int64_t>(static_cast<__int128>(count) * i / parts);
}

absl::Status TooFewExamples(int64_t examples, int64_t parts,
                            std::string_view what) {
  return absl::InvalidArgumentError(
      StrCat("partition: ", examples, " examples cannot be divided among ",
             parts, " ", what, "; use fewer devices or more data"));
}

// Positions of each class.
std::vector<std::vector<int64_t>> ByLabel(std::span<const int64_t> labels) {
  std::vector<std::vector<int64_t>> positions;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] >= static_cast<int64_t>(positions.size())) {
      positions.resize(labels[i] + 1);
    }
    positions[labels[i]].push_back(static_cast<int64_t>(i));
  }
  return positions;
}

absl::StatusOr<Shares> DivideIid(const PartitionRequest& request) {
  if (request.examples < request.devices) {
    return TooFewExamples(request.examples, request.devices, "devices");
  }
  std::vector<int64_t> order(request.examples);
  std::iota(order.begin(), order.end(), int64_t{0});
  RandomFor(request, "partition-iid").Shuffle(std::span(order));
  Shares shares(request.devices);
  for (int64_t d = 0; d < request.devices; ++d) {
    shares[d].assign(
        order.begin() + EvenCut(request.examples, request.devices, d),
        order.begin() + EvenCut(request.examples, request.devices, d + 1));
  }
  return shares;
}

absl::StatusOr<Shares> DivideShards(const PartitionRequest& request) {
  const int64_t per_device = request.kind.shards().shards_per_device();
  const int64_t shards = per_device * request.devices;
  if (per_device < 1 || request.examples < shards) {
    return TooFewExamples(request.examples, shards, "shards");
  }
  std::vector<int64_t> by_label;
  by_label.reserve(request.examples);
  for (const std::vector<int64_t>& positions : ByLabel(request.labels)) {
    by_label.insert(by_label.end(), positions.begin(), positions.end());
  }
  std::vector<int64_t> order(shards);
  std::iota(order.begin(), order.end(), int64_t{0});
  RandomFor(request, "partition-shards").Shuffle(std::span(order));
  Shares shares(request.devices);
  for (int64_t i = 0; i < shards; ++i) {
    std::vector<int64_t>& share = shares[i / per_device];
    share.insert(
        share.end(),
        by_label.begin() + EvenCut(request.examples, shards, order[i]),
        by_label.begin() + EvenCut(request.examples, shards, order[i] + 1));
  }
  return shares;
}

// Labels of each device: those that the fewest devices hold so far, ties by the
// draw, so that every label is held by almost equally many.
absl::StatusOr<Shares> DivideLabels(const PartitionRequest& request) {
  const std::vector<std::vector<int64_t>> by_label = ByLabel(request.labels);
  std::vector<int64_t> present;
  for (size_t label = 0; label < by_label.size(); ++label) {
    if (!by_label[label].empty())
      present.push_back(static_cast<int64_t>(label));
  }
  const int64_t per_device = request.kind.labels().labels_per_device();
  const int64_t labels = static_cast<int64_t>(present.size());
  if (per_device < 1 || per_device > labels) {
    return absl::InvalidArgumentError(StrCat(
        "partition.labels.labels_per_device: ", per_device,
        " is not between 1 and the ", labels, " labels that the data hold"));
  }
  if (per_device * request.devices < labels) {
    return absl::InvalidArgumentError(
        StrCat("partition.labels: ", request.devices, " devices with ",
               per_device, " labels each leave some of the ", labels,
               " labels to nobody; raise labels_per_device or the number of "
               "devices"));
  }
  TrainingRandom random = RandomFor(request, "partition-labels");
  std::vector<std::vector<int64_t>> holders(by_label.size());
  for (int64_t d = 0; d < request.devices; ++d) {
    random.Shuffle(std::span(present));
    std::stable_sort(present.begin(), present.end(), [&](int64_t a, int64_t b) {
      return holders[a].size() < holders[b].size();
    });
    for (int64_t i = 0; i < per_device; ++i) holders[present[i]].push_back(d);
  }
  Shares shares(request.devices);
  for (size_t label = 0; label < by_label.size(); ++label) {
    std::vector<int64_t> positions = by_label[label];
    random.Shuffle(std::span(positions));
    const int64_t count = static_cast<int64_t>(positions.size());
    const int64_t parts = static_cast<int64_t>(holders[label].size());
    for (int64_t i = 0; i < parts; ++i) {
      std::vector<int64_t>& share = shares[holders[label][i]];
      share.insert(share.end(), positions.begin() + EvenCut(count, parts, i),
                   positions.begin() + EvenCut(count, parts, i + 1));
    }
  }
  for (int64_t d = 0; d < request.devices; ++d) {
    if (shares[d].empty()) {
      return TooFewExamples(request.examples, request.devices,
                            "devices by their labels");
    }
  }
  return shares;
}

// One draw; empty when all weights of a label came out as zero.
Shares DrawDirichlet(const PartitionRequest& request,
                     std::vector<std::vector<int64_t>> by_label,
                     int64_t attempt) {
  TrainingRandom random = RandomFor(request, "partition-dirichlet", attempt);
  Shares shares(request.devices);
  std::vector<double> weights(request.devices);
  for (std::vector<int64_t>& positions : by_label) {
    if (positions.empty()) continue;
    random.Shuffle(std::span(positions));
    double sum = 0;
    for (double& weight : weights) {
      weight = random.Gamma(request.kind.dirichlet().alpha());
      sum += weight;
    }
    if (!(sum > 0)) return {};
    const double count = static_cast<double>(positions.size());
    double below = 0;
    int64_t begin = 0;
    for (int64_t d = 0; d < request.devices; ++d) {
      below += weights[d];
      const int64_t end =
          d + 1 == request.devices
              ? static_cast<int64_t>(positions.size())
              : std::min(static_cast<int64_t>(below / sum * count),
                         static_cast<int64_t>(positions.size()));
      shares[d].insert(shares[d].end(), positions.begin() + begin,
                       positions.begin() + end);
      begin = end;
    }
  }
  return shares;
}

absl::StatusOr<Shares> DivideDirichlet(const PartitionRequest& request) {
  constexpr int64_t kAttempts = 1000;
  const int64_t minimum =
      std::max<int64_t>(1, request.kind.dirichlet().minimum_examples());
  if (!(request.kind.dirichlet().alpha() > 0)) {
    return absl::InvalidArgumentError(
        StrCat("partition.dirichlet.alpha: ", request.kind.dirichlet().alpha(),
               " is not above 0"));
  }
  if (request.examples / request.devices < minimum) {
    return TooFewExamples(request.examples, request.devices,
                          StrCat("devices with at least ", minimum, " each"));
  }
  const std::vector<std::vector<int64_t>> by_label = ByLabel(request.labels);
  for (int64_t attempt = 0; attempt < kAttempts; ++attempt) {
    Shares shares = DrawDirichlet(request, by_label, attempt);
    const bool enough =
        !shares.empty() &&
        std::all_of(shares.begin(), shares.end(), [&](const auto& share) {
          return static_cast<int64_t>(share.size()) >= minimum;
        });
    if (enough) return shares;
  }
  return absl::ResourceExhaustedError(
      StrCat("partition.dirichlet: in ", kAttempts, " draws with alpha ",
             request.kind.dirichlet().alpha(), " some of the ", request.devices,
             " devices always had fewer than ", minimum,
             " examples; raise alpha, lower minimum_examples, or use fewer "
             "devices"));
}

// Devices in the order in which their values first appear.
absl::StatusOr<Shares> DivideByColumn(const PartitionRequest& request) {
  if (static_cast<int64_t>(request.column_values.size()) != request.examples) {
    return absl::InvalidArgumentError(
        StrCat("partition.by_column: ", request.column_values.size(),
               " values for ", request.examples, " examples"));
  }
  Shares shares;
  absl::flat_hash_map<std::string, size_t> device_of;
  for (size_t i = 0; i < request.column_values.size(); ++i) {
    const auto [device, fresh] =
        device_of.try_emplace(request.column_values[i], shares.size());
    if (fresh) shares.emplace_back();
    shares[device->second].push_back(static_cast<int64_t>(i));
  }
  return shares;
}

absl::StatusOr<Shares> Divide(const PartitionRequest& request) {
  switch (request.kind.kind_case()) {
    case v1::Partition::kShards:
      return DivideShards(request);
    case v1::Partition::kLabels:
      return DivideLabels(request);
    case v1::Partition::kDirichlet:
      return DivideDirichlet(request);
    case v1::Partition::kByColumn:
      return DivideByColumn(request);
    case v1::Partition::kIid:
    case v1::Partition::KIND_NOT_SET:
      break;
  }
  return DivideIid(request);
}

bool NeedsLabels(const v1::Partition& kind) {
  return kind.has_shards() || kind.has_labels() || kind.has_dirichlet();
}

}  // namespace

Partition::Partition(const std::vector<std::vector<int64_t>>& shares) {
  begin_.push_back(0);
  for (const std::vector<int64_t>& share : shares) {
    positions_.insert(positions_.end(), share.begin(), share.end());
    std::sort(positions_.begin() + begin_.back(), positions_.end());
    begin_.push_back(static_cast<int64_t>(positions_.size()));
  }
}

absl::StatusOr<Partition> MakePartition(const PartitionRequest& request) {
  if (request.examples < 1) {
    return absl::InvalidArgumentError("partition: the data hold no examples");
  }
  if (!request.kind.has_by_column() && request.devices < 1) {
    return absl::InvalidArgumentError(
        StrCat("simulation.devices: ", request.devices, " is not above 0"));
  }
  if (NeedsLabels(request.kind) &&
      static_cast<int64_t>(request.labels.size()) != request.examples) {
    return absl::InvalidArgumentError(
        "partition: this kind divides by class label, and the data have none; "
        "use iid or by_column");
  }
  MLEDGE_ASSIGN_OR_RETURN(const Shares shares, Divide(request));
  return Partition(shares);
}

absl::StatusOr<std::vector<int64_t>> ClassLabels(const ExampleStore& store) {
  std::vector<int64_t> labels;
  if (store.classes() == 0) return labels;
  constexpr int64_t kBlock = 1000;
  labels.reserve(store.size());
  std::vector<int64_t> positions;
  ExampleBatch batch;
  for (int64_t begin = 0; begin < store.size(); begin += kBlock) {
    positions.resize(std::min(kBlock, store.size() - begin));
    std::iota(positions.begin(), positions.end(), begin);
    MLEDGE_RETURN_IF_ERROR(store.Read(positions, &batch));
    labels.insert(labels.end(), batch.class_labels.begin(),
                  batch.class_labels.end());
  }
  return labels;
}

absl::StatusOr<Partition> PartitionExamples(const v1::Simulation& simulation,
                                            uint64_t seed,
                                            const ExampleStore& store) {
  PartitionRequest request{.kind = simulation.partition(),
                           .devices = simulation.devices(),
                           .seed = seed,
                           .examples = store.size()};
  std::vector<int64_t> labels;
  if (NeedsLabels(request.kind)) {
    MLEDGE_ASSIGN_OR_RETURN(labels, ClassLabels(store));
    request.labels = labels;
  }
  std::vector<std::string> values;
  if (request.kind.has_by_column()) {
    const v1::DataSource& source = simulation.training_data();
    if (!source.has_csv() || !source.index_file().empty()) {
      return absl::InvalidArgumentError(
          "partition.by_column: needs training data from a CSV file without "
          "an index file");
    }
    MLEDGE_ASSIGN_OR_RETURN(
        values, ReadCsvColumn(source.csv().file(), source.csv().delimiter(),
                              request.kind.by_column().column()));
    request.column_values = values;
  }
  return MakePartition(request);
}

std::string SimulatedDeviceId(int64_t index, int64_t devices) {
  constexpr size_t kLeastDigits = 3;
  const size_t digits = std::max(
      kLeastDigits, std::to_string(std::max<int64_t>(0, devices - 1)).size());
  const std::string number = std::to_string(index);
  return StrCat("device-",
                std::string(digits - std::min(digits, number.size()), '0'),
                number);
}

}  // namespace mledge
