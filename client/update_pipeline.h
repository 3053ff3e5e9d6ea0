#ifndef MLEDGE_CLIENT_UPDATE_PIPELINE_H_
#define MLEDGE_CLIENT_UPDATE_PIPELINE_H_

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/update.h"

// Step 3 of the way of the data: what happens to an update between the trainer
// and the upload, as one list that is read from top to bottom. Float stages
// change values; integer stages (quantize, noise, mask) follow them and turn
// the update into integers: there are none yet, because a plain update travels
// as float32. Next: uploader.h. Thread-safe.

namespace mledge {

class UpdatePipeline {
 public:
  struct Options {
    // Joint L2 norm of all sections; 0: no clipping.
    double clip_norm = 0;
    // Weight 1 instead of the number of examples.
    bool uniform_weight = false;
    // Largest magnitude of a value and largest weight that the task declares;
    // 0: not checked. What lies outside would be refused by the aggregator, so
    // it does not leave the device.
    double value_bound = 0;
    int64_t weight_bound = 0;
  };

  // In the order in which they run.
  explicit UpdatePipeline(const Options& options);

  // INVALID_ARGUMENT: NaN or infinity in a section or scalar, a weight that is
  // not positive. OUT_OF_RANGE: a value or the weight is outside the task's
  // bounds. Messages name stage, section and position.
  absl::StatusOr<Update> Run(Update update) const;

  // For logs: "check-finite", "clip", "weigh", "check-bounds".
  std::vector<std::string_view> StageNames() const;

 private:
  struct Stage {
    std::string_view name;
    std::function<absl::Status(Update*)> run;
  };
  std::vector<Stage> float_stages_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_UPDATE_PIPELINE_H_
