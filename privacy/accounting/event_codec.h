#ifndef MLEDGE_PRIVACY_ACCOUNTING_EVENT_CODEC_H_
#define MLEDGE_PRIVACY_ACCOUNTING_EVENT_CODEC_H_

#include "absl/status/statusor.h"
#include "mledge/privacy/accounting/privacy_event.h"
#include "mledge/v1/privacy.pb.h"

// Privacy events as messages, for ledgers and signed tasks. Thread-safe.

namespace mledge {

// INVALID_ARGUMENT where `ValidateEvent` refuses `event`.
absl::StatusOr<v1::PrivacyEvent> EncodeEvent(const PrivacyEvent& event);

// FAILED_PRECONDITION for a kind, a field or an enumerator that this version
// does not know (a newer one wrote it; to skip it would count it as nothing);
// INVALID_ARGUMENT where `ValidateEvent` refuses what was read.
absl::StatusOr<PrivacyEvent> DecodeEvent(const v1::PrivacyEvent& message);

// UNSPECIFIED and unknown enumerators are FAILED_PRECONDITION.
v1::Adjacency EncodeAdjacency(Adjacency adjacency);
v1::Observer EncodeObserver(Observer observer);
absl::StatusOr<Adjacency> DecodeAdjacency(v1::Adjacency adjacency);
absl::StatusOr<Observer> DecodeObserver(v1::Observer observer);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_ACCOUNTING_EVENT_CODEC_H_
