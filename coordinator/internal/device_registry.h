#ifndef MLEDGE_COORDINATOR_INTERNAL_DEVICE_REGISTRY_H_
#define MLEDGE_COORDINATOR_INTERNAL_DEVICE_REGISTRY_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/coordinator/storage.h"

// All devices that were ever seen: what is recorded of each, the assignment it
// holds, and whether it waits for one. A device waits from its check-in until
// it is handed something or until it should have come back and did not; its
// caller may have gone meanwhile, the answer is then its next check-in. A
// check-in costs O(log n). Not thread-safe: the coordinator's lock guards it.

namespace mledge {

class DeviceRegistry {
 public:
  using Parked = Coordinator::Done<v1::CheckInResponse>;

  struct Entry {
    DeviceRecord record;
    Peer::Role role = Peer::Role::kDevice;
    // What it holds, unfinished.
    struct Held {
      TaskId task;
      AssignmentId assignment;
      absl::Time expires_at;
    };
    std::optional<Held> held;
    // Of privacy ledgers, as it showed them at its last check-in.
    std::map<TaskId, LedgerHead> ledger_heads;
    bool waits = false;
    Parked parked;  // null: nobody is on the line
    absl::Time parked_until = absl::InfinitePast();
    absl::Time waits_until = absl::InfinitePast();
    absl::Time timer = absl::InfiniteFuture();
  };

  // After a restart.
  void Restore(DeviceRecord record);

  Entry& FindOrAdd(const DeviceId& device);
  // Null: never seen.
  Entry* Find(const DeviceId& device);

  // The device waits, and `parked` (or nobody) is on the line.
  void Wait(Entry& entry, Parked parked, absl::Time parked_until,
            absl::Time waits_until);
  // Ends the wait; returns who is on the line.
  Parked StopWaiting(Entry& entry);
  // Takes off the line whose time is up; the device waits on.
  struct Due {
    std::vector<Parked> hung_up;
    std::vector<DeviceId> gone;  // no longer wait
  };
  Due Tick(absl::Time now);
  absl::Time NextTime() const;
  // Takes everybody off the line.
  std::vector<Parked> TakeAllParked();

  template <typename Function>
  void ForEach(Function function) {
    for (auto& [id, entry] : entries_) function(*entry);
  }

 private:
  void SetTimer(Entry& entry);

  absl::flat_hash_map<DeviceId, std::unique_ptr<Entry>> entries_;
  std::set<std::pair<absl::Time, DeviceId>> timers_;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_INTERNAL_DEVICE_REGISTRY_H_
