#include "mledge/simulation/internal/round_log.h"

#include "absl/time/clock.h"

namespace mledge::simulation_internal {

bool RoundLog::Evaluates(int64_t round) const {
  return options_.evaluation_every > 0 &&
         (round % options_.evaluation_every == 0 || round == options_.rounds);
}

void RoundLog::Add(const v1::TaskEvent& event, absl::Time now,
                   const Traffic& traffic) {
  if (event.has_round_started()) {
    assigned_ = event.round_started().assigned();
    return;
  }
  if (event.has_round_failed()) {
    ++failed_attempts_;
    last_failure_ = event.round_failed().reason();
    return;
  }
  if (event.has_round_completed()) {
    const v1::RoundCompleted& done = event.round_completed();
    RoundMetrics row;
    row.round = event.round();
    row.version = done.version();
    row.virtual_seconds = absl::ToDoubleSeconds(now - options_.virtual_start);
    row.wall_seconds = absl::ToDoubleSeconds(absl::Now() - options_.wall_start);
    row.assigned = assigned_;
    row.devices = done.updates();
    row.failures = done.failed_devices();
    row.attempts = failed_attempts_ + 1;
    row.examples = done.examples();
    if (done.examples() > 0) {
      row.training_loss = done.training_loss();
      row.training_metric = done.training_metric();
    }
    if (options_.audit_bound) {
      row.audit_epsilon_lower_bound = options_.audit_bound();
    }
    row.bytes_up = traffic.up_in_bytes - before_.up_in_bytes;
    row.bytes_down = traffic.down_in_bytes - before_.down_in_bytes;
    before_ = traffic;
    failed_attempts_ = 0;
    waiting_.push_back(row);
    Release();
    return;
  }
  if (event.has_evaluation_skipped()) {
    for (RoundMetrics& row : waiting_) {
      if (row.version == event.evaluation_skipped().version()) {
        row.evaluation_skipped = true;
      }
    }
    Release();
    return;
  }
  if (event.has_evaluated()) {
    const v1::Evaluated& evaluated = event.evaluated();
    bool found = false;
    for (RoundMetrics& row : waiting_) {
      if (row.version != evaluated.version()) continue;
      row.evaluation_loss = evaluated.loss();
      row.evaluation_metric = evaluated.metric();
      found = true;
    }
    // An older evaluation that has not come by now does not come any more.
    while (found && !waiting_.empty() &&
           waiting_.front().version < evaluated.version()) {
      rows_.push_back(waiting_.front());
      if (options_.on_round) options_.on_round(rows_.back());
      waiting_.pop_front();
    }
    Release();
  }
}

void RoundLog::Release() {
  while (!waiting_.empty() && (!Evaluates(waiting_.front().round) ||
                               waiting_.front().evaluation_skipped ||
                               waiting_.front().evaluation_loss.has_value())) {
    rows_.push_back(waiting_.front());
    if (options_.on_round) options_.on_round(rows_.back());
    waiting_.pop_front();
  }
}

void RoundLog::Flush() {
  for (const RoundMetrics& row : waiting_) {
    rows_.push_back(row);
    if (options_.on_round) options_.on_round(row);
  }
  waiting_.clear();
}

}  // namespace mledge::simulation_internal
