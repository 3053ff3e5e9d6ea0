#ifndef MLEDGE_SIMULATION_INTERNAL_ROUND_LOG_H_
#define MLEDGE_SIMULATION_INTERNAL_ROUND_LOG_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mledge/simulation/internal/fleet.h"
#include "mledge/simulation/simulator.h"
#include "mledge/v1/admin_service.pb.h"

// Turns a task's events into one row a round. A round's evaluation comes while
// later rounds run, so rows wait for it, and leave in the order of the rounds.
// One thread at a time.

namespace mledge::simulation_internal {

class RoundLog {
 public:
  struct Options {
    // Every so many rounds, and after the last; 0: never.
    int64_t evaluation_every = 0;
    int64_t rounds = 0;
    absl::Time virtual_start;
    absl::Time wall_start;
    // Of a canary audit, after the round that completed.
    std::function<std::optional<double>()> audit_bound;
    std::function<void(const RoundMetrics&)> on_round;
  };

  explicit RoundLog(Options options) : options_(std::move(options)) {}

  // `now` is virtual.
  void Add(const v1::TaskEvent& event, absl::Time now, const Traffic& traffic);
  // Lets the rows that still wait go as they are.
  void Flush();
  const std::vector<RoundMetrics>& rows() const { return rows_; }
  // Failed attempts at the round under way, and why the last one failed.
  int64_t failed_attempts() const { return failed_attempts_; }
  const std::string& last_failure() const { return last_failure_; }

 private:
  bool Evaluates(int64_t round) const;
  void Release();

  const Options options_;
  std::deque<RoundMetrics> waiting_;
  std::vector<RoundMetrics> rows_;
  Traffic before_;
  int64_t assigned_ = 0;
  int64_t failed_attempts_ = 0;
  std::string last_failure_;
};

}  // namespace mledge::simulation_internal

#endif  // MLEDGE_SIMULATION_INTERNAL_ROUND_LOG_H_
