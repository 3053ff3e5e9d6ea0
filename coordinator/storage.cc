#include "mledge/coordinator/storage.h"

#include <iterator>
#include <utility>
#include <vector>

namespace mledge {
namespace {

template <typename T>
void AppendAll(std::vector<T>& to, std::vector<T>& from) {
  if (to.empty()) {
    to = std::move(from);
    return;
  }
  to.insert(to.end(), std::make_move_iterator(from.begin()),
            std::make_move_iterator(from.end()));
}

}  // namespace

bool Transaction::empty() const {
  return tasks.empty() && versions.empty() && assignments.empty() &&
         rounds.empty() && checkpoints.empty() && devices.empty() &&
         events.empty();
}

void Transaction::Append(Transaction other) {
  // Records are written in order, so the later of two with one key wins.
  AppendAll(tasks, other.tasks);
  AppendAll(versions, other.versions);
  AppendAll(assignments, other.assignments);
  AppendAll(rounds, other.rounds);
  AppendAll(checkpoints, other.checkpoints);
  AppendAll(devices, other.devices);
  AppendAll(events, other.events);
}

absl::Status SpoolWriter::Adopt(Update update, UpdateContext context) {
  return absl::UnimplementedError(
      "this storage takes an update's bytes, not the update itself");
}

}  // namespace mledge
