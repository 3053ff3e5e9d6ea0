#ifndef MLEDGE_CLIENT_INTERNAL_SECURE_TURN_H_
#define MLEDGE_CLIENT_INTERNAL_SECURE_TURN_H_

#include <string>
#include <utility>

#include "absl/time/time.h"
#include "mledge/client/secure_participation.h"

// One event of a SecureParticipation: when it is, and what it leads to. Shared
// by its two source files.

namespace mledge {

class SecureParticipation::Turn {
 public:
  explicit Turn(absl::Time time) : now(time) {}

  void Add(SecureEffect effect) { effects.push_back(std::move(effect)); }
  void Say(std::string text) {
    Add(Notice{Notice::Severity::kInfo, std::move(text)});
  }
  void Warn(std::string text) {
    Add(Notice{Notice::Severity::kWarning, std::move(text)});
  }

  const absl::Time now;
  SecureEffects effects;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_INTERNAL_SECURE_TURN_H_
