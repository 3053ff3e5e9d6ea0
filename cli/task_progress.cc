#include "mledge/cli/task_progress.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "mledge/core/human_readable.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr int64_t kBarWidth = 24;

std::string Bar(int64_t done, int64_t wanted) {
  const int64_t filled =
      wanted <= 0 ? 0 : std::min(kBarWidth, kBarWidth * done / wanted);
  return StrCat("[", std::string(static_cast<size_t>(filled), '#'),
                std::string(static_cast<size_t>(kBarWidth - filled), '.'), "]");
}

std::string MetricText(const v1::Evaluated& evaluated) {
  return absl::StrFormat("loss %.4f  %s %.4f", evaluated.loss(),
                         evaluated.metric_name(), evaluated.metric());
}

}  // namespace

void TaskProgress::Add(const v1::TaskEvent& event) {
  round_ = std::max(round_, event.round());
  last_event_ = absl::FromUnixSeconds(event.time().seconds()) +
                absl::Nanoseconds(event.time().nanos());
  switch (event.event_case()) {
    case v1::TaskEvent::kRoundStarted:
      if (!first_start_.has_value()) first_start_ = last_event_;
      progress_.Clear();
      progress_.set_assigned(event.round_started().assigned());
      progress_.set_wanted(event.round_started().cohort_size());
      if (!options_.is_terminal) {
        Say(absl::StrFormat("round %d/%d: %d devices", event.round(),
                            options_.rounds, progress_.assigned()));
      }
      break;
    case v1::TaskEvent::kRoundProgress:
      progress_ = event.round_progress();
      break;
    case v1::TaskEvent::kRoundCompleted: {
      const v1::RoundCompleted& completed = event.round_completed();
      bytes_received_ += completed.bytes_received();
      bytes_sent_ += completed.bytes_sent();
      rows_.push_back({event.round(), completed, std::nullopt});
      if (!options_.is_terminal) {
        Say(absl::StrFormat(
            "round %d/%d: version %d from %d updates (%d failed), %s, %s "
            "received, %.1f s",
            event.round(), options_.rounds, completed.version(),
            completed.updates(), completed.failed_devices(),
            // Of a private round nothing is told that was not paid for.
            completed.has_epsilon_spent()
                ? absl::StrFormat("epsilon %.4g spent",
                                  completed.epsilon_spent())
                : absl::StrFormat("training loss %.4f",
                                  completed.training_loss()),
            ShortBytes(completed.bytes_received()),
            static_cast<double>(completed.duration_milliseconds()) / 1000));
      }
      break;
    }
    case v1::TaskEvent::kRoundFailed:
      Say(absl::StrFormat("round %d failed with %d updates: %s", event.round(),
                          event.round_failed().updates(),
                          event.round_failed().reason()));
      break;
    case v1::TaskEvent::kDeviceFailed:
      Say(absl::StrFormat("round %d: device %s failed: %s", event.round(),
                          event.device_failed().device_id(),
                          event.device_failed().reason()));
      break;
    case v1::TaskEvent::kEvaluated: {
      evaluated_ = event.evaluated();
      const auto row =
          std::find_if(rows_.begin(), rows_.end(), [&](const Row& each) {
            return each.completed.version() == evaluated_->version();
          });
      if (row != rows_.end()) row->evaluated = evaluated_;
      if (!options_.is_terminal) {
        Say(absl::StrFormat("version %d: %s on %d examples",
                            evaluated_->version(), MetricText(*evaluated_),
                            evaluated_->examples()));
      }
      break;
    }
    case v1::TaskEvent::kEvaluationSkipped:
      Say(absl::StrFormat("version %d is not evaluated: %s",
                          event.evaluation_skipped().version(),
                          event.evaluation_skipped().reason()));
      break;
    case v1::TaskEvent::kTaskEnded:
      end_ = event.task_ended();
      Say(StrCat(end_.state() == v1::COMPLETED   ? "completed"
                 : end_.state() == v1::CANCELLED ? "cancelled"
                                                 : "failed",
                 end_.reason().empty() ? "" : ": ", end_.reason()));
      return;
    case v1::TaskEvent::EVENT_NOT_SET:
      return;
  }
  if (options_.is_terminal) DrawBar();
}

void TaskProgress::Say(const std::string& text) {
  ClearBar();
  *out_ << text << std::endl;
}

void TaskProgress::DrawBar() {
  ClearBar();
  *out_ << absl::StreamFormat(
      "round %d/%d %s %d/%d devices  %s  %s in, %s out%s", round_,
      options_.rounds, Bar(progress_.acknowledged(), progress_.wanted()),
      progress_.acknowledged(), progress_.wanted(),
      evaluated_.has_value() ? MetricText(*evaluated_)
                             : std::string("no accuracy yet"),
      ShortBytes(bytes_received_), ShortBytes(bytes_sent_), TimeLeft());
  out_->flush();
  bar_is_drawn_ = true;
}

void TaskProgress::ClearBar() {
  // Back to the line's start, and erase it.
  if (std::exchange(bar_is_drawn_, false)) *out_ << "\r\x1b[K";
}

std::string TaskProgress::TimeLeft() const {
  if (rows_.empty() || !first_start_.has_value()) return "";
  const absl::Duration left = (last_event_ - *first_start_) *
                              (options_.rounds - rows_.back().round) /
                              static_cast<int64_t>(rows_.size());
  const int64_t seconds = std::max<int64_t>(0, absl::ToInt64Seconds(left));
  return absl::StrFormat("  ETA %d:%02d", seconds / 60, seconds % 60);
}

void TaskProgress::PrintTable() const {
  *out_ << absl::StreamFormat("\n%6s %8s %8s %10s %10s %10s %10s %10s %8s\n",
                              "round", "version", "updates", "train loss",
                              "loss",
                              evaluated_.has_value() ? evaluated_->metric_name()
                                                     : std::string("metric"),
                              "received", "sent", "seconds");
  for (const Row& row : rows_) {
    const auto number = [&](double value) {
      return row.evaluated.has_value() ? absl::StrFormat("%.4f", value)
                                       : std::string("-");
    };
    *out_ << absl::StreamFormat(
        "%6d %8d %8d %10s %10s %10s %10s %10s %8.1f\n", row.round,
        row.completed.version(), row.completed.updates(),
        row.completed.has_epsilon_spent()
            ? std::string("-")
            : absl::StrFormat("%.4f", row.completed.training_loss()),
        number(row.evaluated.has_value() ? row.evaluated->loss() : 0),
        number(row.evaluated.has_value() ? row.evaluated->metric() : 0),
        ShortBytes(row.completed.bytes_received()),
        ShortBytes(row.completed.bytes_sent()),
        static_cast<double>(row.completed.duration_milliseconds()) / 1000);
  }
  if (first_start_.has_value()) {
    *out_ << absl::StreamFormat(
        "total: %s received, %s sent, %.1f s\n", ShortBytes(bytes_received_),
        ShortBytes(bytes_sent_),
        absl::ToDoubleSeconds(last_event_ - *first_start_));
  }
  out_->flush();
}

}  // namespace mledge
