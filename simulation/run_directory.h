#ifndef MLEDGE_SIMULATION_RUN_DIRECTORY_H_
#define MLEDGE_SIMULATION_RUN_DIRECTORY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/model/package.h"
#include "mledge/simulation/simulator.h"
#include "mledge/v1/data.pb.h"
#include "mledge/v1/task.pb.h"

// What a simulation leaves behind: a folder from which it can be repeated and
// compared.
//
//   metrics.jsonl    one JSON object a round, written as rounds end
//   manifest.json    task, seed, data, versions, machine, outcome
//   parameters.f32   the final model's flat vector, little-endian float32
//   model.mledge     the final model as a package
//
// The package is signed by a key that is thrown away: it can be looked at and
// trained on by a simulation, but no device takes it before a model-signer has
// signed it. One thread at a time.

namespace mledge {

struct RunDescription {
  std::string task_file;  // as given, with the overrides
  std::vector<std::string> overrides;
  std::string task_text;
  v1::Task task;                 // validated
  std::string training_library;  // "LibTorch 2.13.0"
  std::string cpu_kind;
  int workers = 0;
  bool wire = false;
};

class RunDirectory {
 public:
  // Makes the folder. ALREADY_EXISTS: it holds another run. PERMISSION_DENIED
  // and the like: it cannot be written.
  static absl::StatusOr<std::unique_ptr<RunDirectory>> Create(
      const std::string& path);
  ~RunDirectory();

  // Appends a line to metrics.jsonl; it is there when the call returns.
  absl::Status Add(const RoundMetrics& round, std::string_view metric_name);
  // Everything else. Reads the data files once more, for their hashes.
  absl::Status Finish(const RunDescription& description,
                      const ModelPackage& package,
                      const SimulationResult& result);

  const std::string& path() const { return path_; }

 private:
  struct MetricsFile;
  RunDirectory(std::string path, std::unique_ptr<MetricsFile> metrics);
  const std::string path_;
  std::unique_ptr<MetricsFile> metrics_;
};

// One line of metrics.jsonl, without the line break.
std::string MetricsLine(const RoundMetrics& round,
                        std::string_view metric_name);

}  // namespace mledge

#endif  // MLEDGE_SIMULATION_RUN_DIRECTORY_H_
