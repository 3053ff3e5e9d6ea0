#ifndef MLEDGE_CLI_TASK_PROGRESS_H_
#define MLEDGE_CLI_TASK_PROGRESS_H_

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mledge/v1/admin_service.pb.h"

// A task's events as a person follows them: a bar that is drawn over and over
// on a terminal, a line an event elsewhere, and a table of the rounds in the
// end. Not thread-safe.

namespace mledge {

class TaskProgress {
 public:
  struct Options {
    bool is_terminal = false;
    int64_t rounds = 0;  // the stop rule's
  };
  TaskProgress(Options options, std::ostream* out)
      : options_(options), out_(out) {}

  void Add(const v1::TaskEvent& event);
  // Something that is not an event, on a line of its own.
  void Say(const std::string& text);
  // Rounds with accuracy, bytes and seconds.
  void PrintTable() const;

  v1::TaskState end_state() const { return end_.state(); }

 private:
  struct Row {
    int64_t round = 0;
    v1::RoundCompleted completed;
    std::optional<v1::Evaluated> evaluated;
  };

  void DrawBar();
  void ClearBar();
  std::string TimeLeft() const;

  const Options options_;
  std::ostream* const out_;
  std::vector<Row> rows_;
  std::optional<v1::Evaluated> evaluated_;  // the newest
  std::optional<absl::Time> first_start_;
  absl::Time last_event_;
  v1::RoundProgress progress_;
  v1::TaskEnded end_;
  int64_t round_ = 0;
  uint64_t bytes_received_ = 0;
  uint64_t bytes_sent_ = 0;
  bool bar_is_drawn_ = false;
};

}  // namespace mledge

#endif  // MLEDGE_CLI_TASK_PROGRESS_H_
