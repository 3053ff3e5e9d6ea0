#include "mledge/simulation/console.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "mledge/core/human_readable.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr absl::Duration kBetweenBars = absl::Milliseconds(100);
constexpr int64_t kWarningsShown = 20;

std::string Number(const std::optional<double>& value) {
  return value.has_value() ? absl::StrFormat("%10.4f", *value)
                           : std::string(9, ' ') + "-";
}

}  // namespace

SimulationConsole::SimulationConsole(Options options, std::ostream* out)
    : options_(std::move(options)), out_(out) {}

void SimulationConsole::ClearBar() {
  if (bar_shown_) *out_ << '\r' << std::string(options_.width - 1, ' ') << '\r';
  bar_shown_ = false;
}

void SimulationConsole::ShowRound(const RoundMetrics& round, absl::Time now) {
  ClearBar();
  if (!header_shown_) {
    // Columns are narrow: a metric with a long name keeps its beginning.
    const std::string metric = options_.metric_name.substr(0, 8);
    *out_ << absl::StrFormat("%6s %7s %10s %10s %10s %10s %10s %8s\n", "round",
                             "devices", "train loss", metric, "test loss",
                             metric, "virtual", "wall");
    header_shown_ = true;
  }
  *out_ << absl::StrFormat(
               "%6d %7d %s %s %s %s %10s %8s", round.round, round.devices,
               Number(round.training_loss), Number(round.training_metric),
               Number(round.evaluation_loss), Number(round.evaluation_metric),
               ShortDuration(absl::Seconds(round.virtual_seconds)),
               ShortDuration(absl::Seconds(round.wall_seconds)))
        << (round.failures > 0 ? StrCat("  ", round.failures, " failed") : "")
        << (round.attempts > 1 ? StrCat("  attempt ", round.attempts) : "")
        << (round.evaluation_skipped ? "  not evaluated" : "") << std::endl;
  if (options_.terminal) DrawBar(now);
}

void SimulationConsole::ShowProgress(const SimulationProgress& progress,
                                     absl::Time now) {
  if (started_ == absl::InfinitePast()) started_ = now;
  progress_ = progress;
  if (options_.terminal && now - drawn_ >= kBetweenBars) DrawBar(now);
}

void SimulationConsole::DrawBar(absl::Time now) {
  if (progress_.rounds <= 0) return;
  drawn_ = now;
  const double in_round = progress_.wanted > 0
                              ? static_cast<double>(progress_.acknowledged) /
                                    static_cast<double>(progress_.wanted)
                              : 0;
  const double done = std::clamp(
      (static_cast<double>(std::max<int64_t>(1, progress_.round) - 1) +
       in_round) /
          static_cast<double>(progress_.rounds),
      0.0, 1.0);
  std::string left = "?";
  if (done > 0.001) {
    left = ShortDuration((now - started_) * ((1 - done) / done));
  }
  const std::string text =
      absl::StrFormat("] %3.0f%%  round %d of %d, %d of %d devices, %s left",
                      done * 100, progress_.round, progress_.rounds,
                      progress_.acknowledged, progress_.wanted, left);
  const int bar =
      std::max(5, options_.width - 3 - static_cast<int>(text.size()));
  const int filled = static_cast<int>(done * bar);
  std::string line = StrCat("[", std::string(filled, '='),
                            std::string(bar - filled, ' '), text);
  line.resize(options_.width - 1, ' ');
  *out_ << '\r' << line << std::flush;
  bar_shown_ = true;
}

void SimulationConsole::ShowWarning(const std::string& text) {
  if (text == last_warning_ || warnings_ > kWarningsShown) return;
  ClearBar();
  last_warning_ = text;
  if (++warnings_ > kWarningsShown) {
    *out_ << "(more warnings are not shown)" << std::endl;
    return;
  }
  *out_ << "warning: " << text << std::endl;
}

void SimulationConsole::ShowResult(const SimulationResult& result) {
  ClearBar();
  uint64_t up = 0;
  uint64_t down = 0;
  for (const RoundMetrics& round : result.rounds) {
    up += round.bytes_up;
    down += round.bytes_down;
  }
  *out_ << (result.stopped ? "Stopped" : "Done") << " after "
        << result.rounds.size() << " rounds in "
        << ShortDuration(result.wall_time) << " ("
        << ShortDuration(result.virtual_time) << " on the virtual clock)";
  if (!result.reason.empty()) *out_ << ": " << result.reason;
  *out_ << "\nDevices sent " << ShortBytes(up) << " and received "
        << ShortBytes(down) << ".\nparameters_sha256 "
        << result.parameters_sha256.ToHex() << std::endl;
  if (result.audit.has_value()) ShowAudit(*result.audit);
}

void SimulationConsole::ShowAudit(const CanaryAuditReport& audit) {
  *out_ << absl::StrFormat(
               "Canary audit: epsilon is more than %.3g with %.0f %% "
               "confidence, and claimed to be at most %.4g (delta %.3g, "
               "against model-recipients, unit %s, adjacency zero-out, by "
               "%s).\n%d of %d guesses were right; %d of %d canaries took part "
               "in a round.",
               audit.epsilon_lower_bound, 100 * audit.confidence,
               audit.claim.epsilon(), audit.claim.delta(), audit.claim.unit(),
               audit.claim.accountant(), audit.correct, audit.guesses,
               audit.took_part, audit.canaries)
        << (audit.contradicts_claim()
                ? " The claim is FALSE."
                : " That does not prove the claim: it was not refuted.")
        << std::endl;
}

}  // namespace mledge
