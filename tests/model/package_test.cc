#include "mledge/model/package.h"

#include <gtest/gtest.h>

namespace mledge {
namespace {

TEST(TensorSpecTest, CountsElements) {
  EXPECT_EQ((TensorSpec{{28, 28}}).element_count(), 784);
  EXPECT_EQ((TensorSpec{{7}}).element_count(), 7);
  EXPECT_EQ(TensorSpec{}.element_count(), 1) << "a scalar";
}

TEST(MetricTest, HasAName) {
  EXPECT_EQ(MetricName(Metric::kAccuracy), "accuracy");
  EXPECT_EQ(MetricName(Metric::kMeanSquaredError), "mean_squared_error");
}

}  // namespace
}  // namespace mledge
