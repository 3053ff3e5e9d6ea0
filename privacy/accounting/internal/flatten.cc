#include "mledge/privacy/accounting/internal/flatten.h"

#include <algorithm>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::accounting_internal {
namespace {

constexpr int64_t kMostUses = 1'000'000'000'000'000;

absl::Status Add(const PrivacyEvent& event, int64_t count,
                 std::vector<CountedEvent>* events) {
  if (const auto* composed = std::get_if<ComposedEvent>(&event.kind)) {
    int64_t product = 0;
    if (__builtin_mul_overflow(count, composed->count, &product) ||
        product > kMostUses) {
      return absl::InvalidArgumentError(
          StrCat("composition: its counts multiply to more than ", kMostUses));
    }
    for (const PrivacyEvent& part : composed->events) {
      MLEDGE_RETURN_IF_ERROR(Add(part, product, events));
    }
    return absl::OkStatus();
  }
  const auto same = std::ranges::find_if(
      *events, [&](const CountedEvent& other) { return other.event == event; });
  if (same == events->end()) {
    events->push_back({event, count});
    return absl::OkStatus();
  }
  if (same->count > kMostUses - count) {
    return absl::InvalidArgumentError(
        StrCat(EventName(event), ": used more than ", kMostUses, " times"));
  }
  same->count += count;
  return absl::OkStatus();
}

}  // namespace

absl::Status AddFlattened(const PrivacyEvent& event, int64_t count,
                          Adjacency adjacency,
                          std::vector<CountedEvent>* events) {
  if (count < 1 || count > kMostUses) {
    return absl::InvalidArgumentError(
        StrCat("count is ", count, "; it must be from 1 to ", kMostUses));
  }
  MLEDGE_RETURN_IF_ERROR(ValidateEvent(event));
  MLEDGE_RETURN_IF_ERROR(CheckAdjacency(event, adjacency));
  std::vector<CountedEvent> added = *events;
  MLEDGE_RETURN_IF_ERROR(Add(event, count, &added));
  *events = std::move(added);
  return absl::OkStatus();
}

}  // namespace mledge::accounting_internal
