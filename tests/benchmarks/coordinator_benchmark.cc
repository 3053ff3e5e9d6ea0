// What a check-in costs when many devices wait: the first fleet fills, then all
// of it checks in again. No work per check-in may grow with the number of
// devices; the floor is one look-up in a hash map of all devices. Exits with 1
// when the cost grows by more than the logarithm and cache misses explain and
// --check is given. Then a round over all of them: the draw of the cohort looks
// at everybody once.
//
//   coordinator_benchmark [--check] [--devices N]

#include <time.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "mledge/coordinator/memory_storage.h"
#include "mledge/core/strings.h"
#include "mledge/tests/coordinator/support/test_task.h"

namespace mledge {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1767225600);

double Seconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) +
         static_cast<double>(now.tv_nsec) * 1e-9;
}

struct Cost {
  double first = 0;  // microseconds a check-in
  double again = 0;
  double lookup = 0;  // the floor
  double draw = 0;    // milliseconds for a cohort of 100
};

Cost Measure(int64_t devices) {
  MemoryStorage storage;
  auto coordinator =
      Coordinator::Create(
          {.synchronous = true},
          {.storage = &storage,
           .sign_version =
               [](const v1::VersionStatement&) {
                 return absl::StatusOr<v1::SignedMessage>(v1::SignedMessage());
               },
           .wake_at = [](absl::Time) {}},
          kNow)
          .value();
  // Starts a round once everybody and one more waits.
  coordinator->SubmitTask(
      kNow,
      MakeSubmission(MakeTestTask(
          {.size = 100, .rounds = 1, .minimum_waiting = devices + 1})),
      [](absl::StatusOr<TaskId> id) { id.value(); });
  std::vector<Peer> peers;
  for (int64_t i = 0; i < devices; ++i) {
    peers.push_back({DeviceId(StrCat("device-", i * 7919))});
  }
  v1::CheckInRequest request;
  request.set_protocol_version(1);
  int64_t assigned = 0;
  const auto check_in = [&](const Peer& peer) {
    coordinator->CheckIn(kNow, peer, request, kNow + absl::Minutes(5),
                         [&](absl::StatusOr<v1::CheckInResponse> answer) {
                           if (answer.ok() && answer->has_assignment()) {
                             ++assigned;
                           }
                         });
  };
  Cost cost;
  const double n = static_cast<double>(devices);
  double start = Seconds();
  for (const Peer& peer : peers) check_in(peer);
  cost.first = (Seconds() - start) / n * 1e6;
  start = Seconds();
  for (const Peer& peer : peers) check_in(peer);
  cost.again = (Seconds() - start) / n * 1e6;

  absl::flat_hash_map<DeviceId, int64_t> map;
  for (const Peer& peer : peers) map[peer.id] = 1;
  int64_t sum = 0;
  start = Seconds();
  for (const Peer& peer : peers) sum += map.find(peer.id)->second;
  cost.lookup = (Seconds() - start) / n * 1e6;
  if (sum != devices) std::abort();

  start = Seconds();
  check_in({DeviceId("the-last")});
  cost.draw = (Seconds() - start) * 1e3;
  if (assigned != 100) std::abort();
  return cost;
}

int Main(int argc, char** argv) {
  bool check = false;
  int64_t most = 100000;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--check") check = true;
    if (argument == "--devices" && i + 1 < argc) most = std::atoll(argv[++i]);
  }
  std::printf("%10s %14s %14s %14s %12s\n", "devices", "first (us)",
              "again (us)", "look-up (us)", "draw (ms)");
  Cost small;
  Cost large;
  for (int64_t devices = most / 100; devices <= most; devices *= 10) {
    large = Measure(devices);
    if (devices == most / 100) small = large;
    std::printf("%10lld %14.2f %14.2f %14.3f %12.2f\n",
                static_cast<long long>(devices), large.first, large.again,
                large.lookup, large.draw);
  }
  const double growth = large.again / small.again;
  std::printf("growth of a check-in over 100 times the devices: %.2f\n",
              growth);
  return check && growth > 10 ? 1 : 0;
}

}  // namespace
}  // namespace mledge

int main(int argc, char** argv) { return mledge::Main(argc, argv); }
