#ifndef MLEDGE_CLIENT_EXAMPLE_STORE_H_
#define MLEDGE_CLIENT_EXAMPLE_STORE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "mledge/model/package.h"

// Step 1 of the way of the data: examples on the device. A store is a
// read-only, indexable set of labelled examples; sources (IDX, CSV, memory)
// produce them, `SubsetStore` restricts one to a device's share. Next:
// local_trainer.h.
//
// Implementations allow const access from several threads.

namespace mledge {

// Examples of one step, in the order asked for. Which vectors are filled
// follows from the specs: float or index inputs; class labels or label rows.
// Reused from step to step so that nothing is allocated.
struct ExampleBatch {
  int64_t size = 0;
  std::vector<float> inputs;          // size × input elements, row-major
  std::vector<int64_t> index_inputs;  // for TensorSpec::Kind::kIndex
  std::vector<int64_t> class_labels;  // size; classification
  std::vector<float> label_values;    // size × output elements; regression
};

class ExampleStore {
 public:
  virtual ~ExampleStore() = default;

  virtual int64_t size() const = 0;
  // Shape of one example's input as stored. A trainer accepts any shape with
  // the element count of the model's input.
  virtual const TensorSpec& input() const = 0;
  // Classes, or 0 for regression.
  virtual int64_t classes() const = 0;
  // Numbers in a label row; 1 for classification.
  virtual int64_t label_width() const = 0;

  // Fills `batch` with the examples of those positions (0 … size−1).
  // OUT_OF_RANGE for a position outside; DATA_LOSS when a value cannot be read.
  virtual absl::Status Read(std::span<const int64_t> positions,
                            ExampleBatch* batch) const = 0;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_EXAMPLE_STORE_H_
