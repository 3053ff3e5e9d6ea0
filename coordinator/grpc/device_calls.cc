#include "mledge/coordinator/grpc/device_calls.h"

#include "mledge/core/strings.h"

namespace mledge {

absl::StatusOr<DeviceCalls::Lease> DeviceCalls::Begin(const Peer& peer) {
  const Caller caller{peer.id, peer.role};
  MutexLock lock(&count_->mutex);
  int64_t& under_way = count_->under_way[caller];
  if (under_way >= most_of_a_device_) {
    return absl::ResourceExhaustedError(
        StrCat(peer.id.value(), " has ", under_way,
               " calls under way, as many as a device may have: try again when "
               "some have ended; if it has fewer, another process calls with "
               "its certificate"));
  }
  ++under_way;
  return Lease(nullptr, [count = count_, caller](const void*) {
    MutexLock end(&count->mutex);
    const auto it = count->under_way.find(caller);
    if (--it->second == 0) count->under_way.erase(it);
  });
}

}  // namespace mledge
