#ifndef MLEDGE_SIMULATION_CONSOLE_H_
#define MLEDGE_SIMULATION_CONSOLE_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "mledge/simulation/simulator.h"

// What a person sees of a simulation: on a terminal a line a round and under it
// a bar that moves, with the time that is left; elsewhere only the lines. One
// thread at a time.

namespace mledge {

class SimulationConsole {
 public:
  struct Options {
    bool terminal = false;  // `out` is one
    std::string metric_name = "metric";
    int64_t rounds = 0;
    int width = 80;  // characters a line
  };

  // `out` must outlive the console.
  SimulationConsole(Options options, std::ostream* out);

  // `now` is the wall clock's.
  void ShowRound(const RoundMetrics& round, absl::Time now);
  void ShowProgress(const SimulationProgress& progress, absl::Time now);
  // In the order of their coming; the same text once only.
  void ShowWarning(const std::string& text);
  // Removes the bar and sums up.
  void ShowResult(const SimulationResult& result);

 private:
  void ShowAudit(const CanaryAuditReport& audit);
  void ClearBar();
  void DrawBar(absl::Time now);

  const Options options_;
  std::ostream* const out_;
  bool header_shown_ = false;
  bool bar_shown_ = false;
  SimulationProgress progress_;
  absl::Time started_ = absl::InfinitePast();
  absl::Time drawn_ = absl::InfinitePast();
  std::string last_warning_;
  int64_t warnings_ = 0;
};

}  // namespace mledge

#endif  // MLEDGE_SIMULATION_CONSOLE_H_
