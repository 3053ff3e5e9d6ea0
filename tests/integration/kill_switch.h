#ifndef MLEDGE_TESTS_INTEGRATION_KILL_SWITCH_H_
#define MLEDGE_TESTS_INTEGRATION_KILL_SWITCH_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

// kill -9 at an exact moment: a library that is loaded before the C library
// (kill_switch_library.cc) counts what a program does to the files below one
// folder (writes, syncs, renames, removals, truncations), and kills the process
// before the operation that the test chose. The program itself knows nothing of
// it. What of another thread is under way then may still reach the disk, as
// with any kill.

namespace mledge {

// What test and process share: a mapped file.
struct KillSwitchState {
  // So far, by all processes with this switch.
  std::atomic<int64_t> operations;
  // So many operations more, then the process dies; negative: it lives.
  std::atomic<int64_t> left;
  // Before which it died: name and path, or empty.
  char died_before[1024];
};

class KillSwitch {
 public:
  // Keeps its state in `path`; concerns what happens below `folder`.
  KillSwitch(const std::string& path, const std::string& folder);
  ~KillSwitch();
  KillSwitch(const KillSwitch&) = delete;
  KillSwitch& operator=(const KillSwitch&) = delete;

  // "NAME=value", for the processes concerned.
  const std::vector<std::string>& environment() const { return environment_; }
  int64_t operations() const { return state_->operations; }
  // Kills before the operation that follows the next `operations`.
  void KillAfter(int64_t operations);
  void Disarm() { state_->left = -1; }
  // Once the process has died: "rename …/blobs/1f/…". Empty: it did not die of
  // this.
  std::string died_before() const { return state_->died_before; }

 private:
  KillSwitchState* state_ = nullptr;
  std::vector<std::string> environment_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_INTEGRATION_KILL_SWITCH_H_
