#ifndef MLEDGE_TESTS_INTEGRATION_PRIVATE_KILLS_H_
#define MLEDGE_TESTS_INTEGRATION_PRIVATE_KILLS_H_

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "mledge/coordinator/grpc/admin_client.h"
#include "mledge/tests/integration/child_process.h"
#include "mledge/tests/integration/fleet.h"
#include "mledge/tests/integration/kill_switch.h"

// What tests share that kill a real coordinator of a private task before chosen
// operations on its disk (kill_switch.h): what that disk holds then, and what
// anybody was shown.

namespace mledge {

// The task of these tests.
inline constexpr char kKilledTask[] = "private";
// How a noised sum gets to the disk, and into its place there.
inline constexpr char kNoisedSumWritten[] = "write /blobs/*";
inline constexpr char kNoisedSumKept[] = "rename /blobs/*";

// What a state directory holds. Looked at in a copy, so that the next
// coordinator finds it as the dead one left it.
struct Disk {
  struct Charge {
    int64_t step = 0;
    uint64_t secure_session = 0;  // 0: none

    bool operator==(const Charge&) const = default;
  };

  // Checks on the way that the ledger is whole.
  static Disk LookAt(const std::string& state, const std::string& copy);

  int64_t newest_version() const { return versions.rbegin()->first; }
  bool IsCharged(int64_t step) const;

  std::map<int64_t, std::string> versions;  // parameters' hash
  std::vector<Charge> charges;              // as the ledger has them
  // Of the task, so far.
  uint64_t secure_sessions = 0;
  // Blobs that no record names.
  std::set<std::string> nameless;
};

std::set<std::string> BlobsIn(const std::string& state);

// By version, all hashes of parameters under which anybody had it.
using Seen = std::map<int64_t, std::set<std::string>>;

// Looks all the time which versions the coordinator shows.
class Onlooker {
 public:
  explicit Onlooker(Fleet& fleet)
      : admin_(fleet.Admin()), thread_([this] { Look(); }) {}
  ~Onlooker() { Stop(); }
  const Seen& Stop();

 private:
  void Look();

  const std::unique_ptr<AdminClient> admin_;
  std::atomic<bool> stop_ = false;
  Seen seen_;
  std::thread thread_;
};

class PrivateKillsTest : public ::testing::Test {
 protected:
  PrivateKillsTest();

  bool Start() { return fleet_.StartCoordinator(kill_.environment()); }
  // As operators are told.
  int64_t Version();
  // Waits until the switch has killed the coordinator, and looks at its disk.
  // A failure of the test if something else ended it.
  Disk AwaitDeath();
  // For whoever reads the test's log: what so many deaths cost, and where
  // they were.
  void Tell(int64_t moments) const;

  const absl::Time started_ = absl::Now();
  const bool in_memory_;  // before the fleet's folder is made
  Fleet fleet_;
  const std::string state_;
  KillSwitch kill_;
  // By version, all parameters that a disk ever had of it.
  Seen stored_;
  // How many deaths were before an operation on this folder or file: "/blobs".
  std::map<std::string, int> deaths_;
};

// What of `log` stands between `before` and the next space or end of line, each
// time.
std::vector<std::string> WordsAfter(const std::string& log,
                                    std::string_view before);

}  // namespace mledge

#endif  // MLEDGE_TESTS_INTEGRATION_PRIVATE_KILLS_H_
