#include "mledge/core/human_readable.h"

#include <gtest/gtest.h>

namespace mledge {
namespace {

TEST(HumanReadableTest, DurationsTakeTheUnitThatFits) {
  EXPECT_EQ(ShortDuration(-absl::Seconds(3)), "0s");
  EXPECT_EQ(ShortDuration(absl::Seconds(59.4)), "59s");
  EXPECT_EQ(ShortDuration(absl::Seconds(125)), "2m05s");
  EXPECT_EQ(ShortDuration(absl::Hours(3) + absl::Minutes(7)), "3h07m");
}

TEST(HumanReadableTest, BytesTakeTheUnitThatFits) {
  EXPECT_EQ(ShortBytes(0), "0 B");
  EXPECT_EQ(ShortBytes(999), "999 B");
  EXPECT_EQ(ShortBytes(1500), "1.5 kB");
  EXPECT_EQ(ShortBytes(79'700'000), "79.7 MB");
}

}  // namespace
}  // namespace mledge
