#include "mledge/model/package.h"

namespace mledge {

int64_t TensorSpec::element_count() const {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

std::string_view MetricName(Metric metric) {
  switch (metric) {
    case Metric::kAccuracy:
      return "accuracy";
    case Metric::kMeanSquaredError:
      return "mean_squared_error";
  }
  return "unknown";
}

}  // namespace mledge
