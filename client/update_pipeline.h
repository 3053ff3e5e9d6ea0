#ifndef MLEDGE_CLIENT_UPDATE_PIPELINE_H_
#define MLEDGE_CLIENT_UPDATE_PIPELINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/sha256.h"
#include "mledge/core/update.h"

// Step 3 of the way of the data: what happens to an update between the trainer
// and the upload, as one list that is read from top to bottom. In a private
// task it ends on a grid, with the device's noise (private_stages.h), as
// float32 still, so that all updates travel alike. Next: uploader.h.
// Thread-safe.

namespace mledge {

struct PrivateTask;  // privacy/plan/private_task.h

class UpdatePipeline {
 public:
  struct Options {
    // Joint L2 norm of all sections; 0: no clipping. The total where `privacy`
    // has layers, which are clipped by themselves.
    double clip_norm = 0;
    // Weight 1 instead of the number of examples.
    bool uniform_weight = false;
    // Largest magnitude of a value and largest weight that the task declares;
    // 0: not checked. What lies outside would be refused by the aggregator, so
    // it does not leave the device.
    double value_bound = 0;
    int64_t weight_bound = 0;
    // Null: no private task.
    std::shared_ptr<const PrivateTask> privacy;
    Digest rotation_seed;  // the round's, public
  };

  // In the order in which they run.
  explicit UpdatePipeline(const Options& options);

  // `random`: for rounding and noise; a plain task draws nothing from it.
  // INVALID_ARGUMENT: NaN or infinity in a section or scalar, a weight that is
  // not positive. OUT_OF_RANGE: a value or the weight is outside the task's
  // bounds. Messages name stage, section and position.
  absl::StatusOr<Update> Run(Update update, SecretRandom& random) const;

  // For logs: "check-finite", "clip", "weigh", "check-bounds".
  std::vector<std::string_view> StageNames() const;

 private:
  // On its way.
  struct Item {
    Update update;
    SecretRandom* random = nullptr;
    bool clipped = false;
  };
  struct Stage {
    std::string_view name;
    std::function<absl::Status(Item&)> run;
  };
  void AddPrivateStages(const Options& options);

  std::vector<Stage> stages_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_UPDATE_PIPELINE_H_
