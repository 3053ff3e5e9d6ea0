#ifndef MLEDGE_TESTS_INTEGRATION_KILL_SWITCH_H_
#define MLEDGE_TESTS_INTEGRATION_KILL_SWITCH_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

// kill -9 at an exact moment: a library that is loaded before the C library
// (kill_switch_library.cc) counts what a program does to the files below one
// folder (writes, syncs, renames, removals, truncations, new folders), and
// kills the process before the operation that the test chose. The program
// itself knows nothing of it. What of another thread is under way then may
// still reach the disk, as with any kill.
//
// An operation is told as its name and the path below the folder: "rename
// /blobs/1f/…", "write /blobs/1f/….tmp-17-3", "sync /coordinator.db-wal".

namespace mledge {

// What test and process share: a mapped file.
struct KillSwitchState {
  // So many operations more, then the process dies; negative: it lives.
  std::atomic<int64_t> left;
  // Only operations like this are counted …
  char before[256];
  // … and these from the next operation like this on, of which so many have
  // been since the test asked; the first of them.
  char after[256];
  std::atomic<int64_t> passed;
  char first_passed[1024];
  // Before which it died, or empty.
  char died_before[1024];
};

class KillSwitch {
 public:
  // When to kill: before one of the operations that are like `before`, of which
  // `spared` are let through. With `after` they are counted once an operation
  // like that has been, which is not counted itself. Both are patterns as a
  // shell's, where * stands for anything, / included.
  struct Moment {
    std::string after;
    std::string before = "*";
    int64_t spared = 0;
  };

  // Keeps its state in `path`; concerns what happens below `folder`.
  KillSwitch(const std::string& path, const std::string& folder);
  ~KillSwitch();
  KillSwitch(const KillSwitch&) = delete;
  KillSwitch& operator=(const KillSwitch&) = delete;

  // "NAME=value", for the processes concerned.
  const std::vector<std::string>& environment() const { return environment_; }
  void KillAt(const Moment& moment);
  void Disarm() { state_->left = -1; }
  // How many operations like `after` the process came by since KillAt, and the
  // first of them.
  int64_t passed() const { return state_->passed; }
  std::string first_passed() const { return state_->first_passed; }
  // Once the process has died. Empty: it did not die of this.
  std::string died_before() const { return state_->died_before; }

 private:
  KillSwitchState* state_ = nullptr;
  std::vector<std::string> environment_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_INTEGRATION_KILL_SWITCH_H_
