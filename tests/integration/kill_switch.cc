#include "mledge/tests/integration/kill_switch.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "mledge/core/logging.h"
#include "mledge/core/strings.h"

namespace mledge {

KillSwitch::KillSwitch(const std::string& path, const std::string& folder)
    : environment_({StrCat("LD_PRELOAD=", MLEDGE_KILL_SWITCH_LIBRARY),
                    StrCat("MLEDGE_KILL_SWITCH=", path),
                    StrCat("MLEDGE_KILL_SWITCH_FOLDER=", folder)}) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0 && ftruncate(fd, sizeof(KillSwitchState)) == 0) << path;
  void* const mapped = mmap(nullptr, sizeof(KillSwitchState),
                            PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(mapped != MAP_FAILED) << path;
  close(fd);
  state_ = static_cast<KillSwitchState*>(mapped);
  Disarm();
}

KillSwitch::~KillSwitch() { munmap(state_, sizeof(KillSwitchState)); }

void KillSwitch::KillAt(const Moment& moment) {
  CHECK(moment.after.size() < sizeof(state_->after)) << moment.after;
  CHECK(moment.before.size() < sizeof(state_->before)) << moment.before;
  state_->died_before[0] = '\0';
  state_->first_passed[0] = '\0';
  std::strcpy(state_->after, moment.after.c_str());
  std::strcpy(state_->before, moment.before.c_str());
  state_->passed = 0;
  state_->left = moment.spared;
}

}  // namespace mledge
