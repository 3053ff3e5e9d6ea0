#ifndef MLEDGE_CLIENT_MEMORY_STORE_H_
#define MLEDGE_CLIENT_MEMORY_STORE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/example_store.h"

// Examples that a program holds in memory: the source for embedders whose data
// come from elsewhere, and what a CSV file is read into. Immutable; const
// access from several threads is safe.

namespace mledge {

class MemoryStore final : public ExampleStore {
 public:
  struct Contents {
    TensorSpec input;
    // Classes, or 0 for regression.
    int64_t classes = 0;
    int64_t label_width = 1;
    // Rows of `input.element_count()` values; one of the two, by input.kind.
    std::vector<float> inputs;
    std::vector<int64_t> index_inputs;
    // One a row where `classes` > 0.
    std::vector<int64_t> class_labels;
    // Rows of `label_width` values; required for regression, optional beside
    // class labels (whole numbers may be read as either).
    std::vector<float> label_values;
  };

  // INVALID_ARGUMENT, naming the first example that is wrong: lengths that do
  // not fit each other, NaN or infinity, negative index, class label out of
  // range.
  static absl::StatusOr<std::unique_ptr<MemoryStore>> Create(Contents contents);

  int64_t size() const override { return size_; }
  const TensorSpec& input() const override { return contents_.input; }
  int64_t classes() const override { return contents_.classes; }
  int64_t label_width() const override { return contents_.label_width; }
  absl::Status Read(std::span<const int64_t> positions,
                    ExampleBatch* batch) const override;

 private:
  MemoryStore(Contents contents, int64_t size);
  Contents contents_;
  int64_t size_;
};

// The error of `Read` for a position outside 0 … size−1.
absl::Status PositionOutOfRange(int64_t position, int64_t size);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_MEMORY_STORE_H_
