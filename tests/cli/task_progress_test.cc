#include "mledge/cli/task_progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

v1::TaskEvent At(int64_t seconds, int64_t round) {
  v1::TaskEvent event;
  event.mutable_time()->set_seconds(seconds);
  event.set_round(round);
  return event;
}

// Two of four rounds, ten seconds each.
void AddTwoRounds(TaskProgress* progress) {
  for (int64_t round : {1, 2}) {
    v1::TaskEvent started = At(10 * round, round);
    started.mutable_round_started()->set_cohort_size(5);
    started.mutable_round_started()->set_assigned(6);
    progress->Add(started);
    v1::TaskEvent acknowledged = At(10 * round + 5, round);
    acknowledged.mutable_round_progress()->set_acknowledged(3);
    acknowledged.mutable_round_progress()->set_wanted(5);
    progress->Add(acknowledged);
    v1::TaskEvent completed = At(10 * round + 10, round);
    completed.mutable_round_completed()->set_version(round);
    completed.mutable_round_completed()->set_updates(5);
    completed.mutable_round_completed()->set_bytes_received(2'500'000);
    completed.mutable_round_completed()->set_duration_milliseconds(10'000);
    progress->Add(completed);
  }
  v1::TaskEvent evaluated = At(31, 2);
  evaluated.mutable_evaluated()->set_version(2);
  evaluated.mutable_evaluated()->set_metric(0.875);
  evaluated.mutable_evaluated()->set_metric_name("accuracy");
  progress->Add(evaluated);
}

TEST(TaskProgressTest, PlainOutputIsALineAnEvent) {
  std::ostringstream out;
  TaskProgress progress({.is_terminal = false, .rounds = 4}, &out);
  AddTwoRounds(&progress);
  EXPECT_THAT(out.str(), AllOf(HasSubstr("round 1/4: 6 devices\n"),
                               HasSubstr("round 2/4: version 2 from 5 updates"),
                               HasSubstr("accuracy 0.8750"),
                               Not(HasSubstr("\r")), Not(HasSubstr("\x1b"))));
}

TEST(TaskProgressTest, TerminalShowsABarWithTimeLeft) {
  std::ostringstream out;
  TaskProgress progress({.is_terminal = true, .rounds = 4}, &out);
  AddTwoRounds(&progress);
  const std::string bar = out.str().substr(out.str().rfind('\r'));
  EXPECT_THAT(bar, StartsWith("\r\x1b[Kround 2/4 [##############.........."));
  EXPECT_THAT(bar, AllOf(HasSubstr("3/5 devices"), HasSubstr("0.8750"),
                         HasSubstr("5.0 MB in"), HasSubstr("ETA 0:21")));
}

TEST(TaskProgressTest, TableHasARowARound) {
  std::ostringstream out;
  TaskProgress progress({.is_terminal = false, .rounds = 4}, &out);
  AddTwoRounds(&progress);
  out.str("");
  progress.PrintTable();
  EXPECT_THAT(out.str(),
              AllOf(HasSubstr("accuracy"), HasSubstr("0.8750"),
                    HasSubstr("5.0 MB received"), HasSubstr("21.0 s")));
}

TEST(TaskProgressTest, EndOfTheTaskIsSaidAndKept) {
  std::ostringstream out;
  TaskProgress progress({.is_terminal = true, .rounds = 4}, &out);
  AddTwoRounds(&progress);
  v1::TaskEvent ended = At(40, 4);
  ended.mutable_task_ended()->set_state(v1::FAILED);
  ended.mutable_task_ended()->set_reason("no device came");
  progress.Add(ended);
  EXPECT_THAT(out.str(), HasSubstr("failed: no device came\n"));
  EXPECT_EQ(progress.end_state(), v1::FAILED);
}

}  // namespace
}  // namespace mledge
