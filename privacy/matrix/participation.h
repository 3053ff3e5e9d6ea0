#ifndef MLEDGE_PRIVACY_MATRIX_PARTICIPATION_H_
#define MLEDGE_PRIVACY_MATRIX_PARTICIPATION_H_

#include <cstdint>
#include <optional>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// How often, and how far apart, one device may contribute: what the sensitivity
// of correlated noise assumes (sensitivity.h), what a coordinator's selection
// enforces and what a device's own ledger checks. "Minimum separation"
// participation of Choquette-Choo et al., "(Amplified) Banded Matrix
// Factorization", NeurIPS 2023 (arXiv 2306.08153), section 2. Values and pure
// functions.

namespace mledge {

// More rounds, and more than they need of anything else, are refused.
inline constexpr int64_t kMaximumRounds = int64_t{1} << 20;

// Over rounds 0 … rounds − 1, one device contributes to at most
// `participations` of them, any two of which lie at least `separation` apart
// (1: neighbouring rounds are allowed).
struct ParticipationLimits {
  int64_t rounds = 0;          // 1 … kMaximumRounds
  int64_t participations = 0;  // 1 … kMaximumRounds
  int64_t separation = 0;      // 1 … kMaximumRounds

  bool operator==(const ParticipationLimits&) const = default;
};

// INVALID_ARGUMENT, naming the field, its value and its domain.
absl::Status ValidateParticipationLimits(const ParticipationLimits& limits);

// The most rounds that one device can be in: `participations`, or less where
// the rounds do not hold as many so far apart. Precondition: valid limits.
int64_t MostParticipations(const ParticipationLimits& limits);

// All that must be remembered of one device.
struct ParticipationRecord {
  int64_t participations = 0;         // so far
  std::optional<int64_t> last_round;  // absent before the first

  bool operator==(const ParticipationRecord&) const = default;
};

// The record of a device that was in `rounds`, in increasing order.
// INVALID_ARGUMENT: invalid limits, a round outside them, rounds out of order
// or closer than the separation, or more of them than may be.
absl::StatusOr<ParticipationRecord> ParticipationRecordOf(
    const ParticipationLimits& limits, std::span<const int64_t> rounds);

// The first round that the device may still join; none if it has used up its
// participations or the rounds end before. INVALID_ARGUMENT: invalid limits; a
// record that no device can have under them.
absl::StatusOr<std::optional<int64_t>> EarliestRound(
    const ParticipationLimits& limits, const ParticipationRecord& record);

// The record after the device has joined `round`. FAILED_PRECONDITION, saying
// why: no participation left, or too soon after the last one.
// INVALID_ARGUMENT: as EarliestRound; `round` outside the limits.
absl::StatusOr<ParticipationRecord> Participate(
    const ParticipationLimits& limits, const ParticipationRecord& record,
    int64_t round);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_MATRIX_PARTICIPATION_H_
