#ifndef MLEDGE_CLIENT_INTERNAL_SESSION_TURN_H_
#define MLEDGE_CLIENT_INTERNAL_SESSION_TURN_H_

#include <string>
#include <utility>

#include "absl/time/time.h"
#include "mledge/client/device_session.h"

// One event of a DeviceSession: when it is, and what it leads to. Shared by the
// two source files of the session: device_session.cc takes events,
// device_session_steps.cc the steps that follow from them.

namespace mledge {

// When the assignment's result is not wanted any more.
inline absl::Time ExpiryOf(const v1::Assignment& assignment) {
  return absl::FromUnixMillis(assignment.expires_at_unix_milliseconds());
}

class DeviceSession::Turn {
 public:
  explicit Turn(absl::Time time) : now(time) {}

  void Add(Effect effect) { effects.push_back(std::move(effect)); }
  void Say(std::string text) {
    Add(Notice{Notice::Severity::kInfo, std::move(text)});
  }
  void Warn(std::string text) {
    Add(Notice{Notice::Severity::kWarning, std::move(text)});
  }

  const absl::Time now;
  Effects effects;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_INTERNAL_SESSION_TURN_H_
