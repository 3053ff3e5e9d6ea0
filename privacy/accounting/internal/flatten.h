#ifndef MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_FLATTEN_H_
#define MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_FLATTEN_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "mledge/privacy/accounting/privacy_event.h"

// Compositions taken apart, the same way for every accountant: that a count is
// multiplied in, for every kind of event, is decided here alone. Thread-safe.

namespace mledge::accounting_internal {

struct CountedEvent {
  PrivacyEvent event;  // never a composition
  int64_t count = 0;
};

// Adds the events inside `event`, `count` times, to `events`; equal ones share
// an entry. INVALID_ARGUMENT where `ValidateEvent` refuses `event`, where
// `adjacency` is not supported, and where an event happens more than 1e15
// times; `events` is unchanged then.
absl::Status AddFlattened(const PrivacyEvent& event, int64_t count,
                          Adjacency adjacency,
                          std::vector<CountedEvent>* events);

}  // namespace mledge::accounting_internal

#endif  // MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_FLATTEN_H_
