#ifndef MLEDGE_TESTS_TASK_TASK_OVERRIDES_H_
#define MLEDGE_TESTS_TASK_TASK_OVERRIDES_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "mledge/task/task_file.h"
#include "mledge/tests/support/status_matchers.h"

// Tests of what a task file refuses: a task that is fine, one bad value in it,
// and what the message says.

namespace mledge {

struct BadValue {
  std::string name;  // of the test
  std::vector<std::string> overrides;
  std::string part;  // of the message
};

inline void ExpectRefused(std::string_view task, const BadValue& bad) {
  EXPECT_THAT(ParseTask(task, "t.yaml", bad.overrides),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::HasSubstr(bad.part)));
}

inline std::string NameOf(const ::testing::TestParamInfo<BadValue>& info) {
  return info.param.name;
}

}  // namespace mledge

#endif  // MLEDGE_TESTS_TASK_TASK_OVERRIDES_H_
