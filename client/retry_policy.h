#ifndef MLEDGE_CLIENT_RETRY_POLICY_H_
#define MLEDGE_CLIENT_RETRY_POLICY_H_

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mledge/core/ids.h"
#include "mledge/core/training_random.h"

// When to try a failed call again. Every call of the device service is
// idempotent (a check-in answers with the same assignment, a fetch and an
// upload go on where they stopped, a report says the same), so all may be
// retried; what differs is which failures are permanent. Values; not
// thread-safe.

namespace mledge {

// Failures after which the same call cannot succeed.
class PermanentFailures {
 public:
  constexpr PermanentFailures(std::initializer_list<absl::StatusCode> codes) {
    for (const absl::StatusCode code : codes) {
      bits_ |= uint32_t{1} << static_cast<int>(code);
    }
  }
  bool Contains(absl::StatusCode code) const {
    const int bit = static_cast<int>(code);
    return bit >= 0 && bit < 32 && ((bits_ >> bit) & 1) != 0;
  }

 private:
  uint32_t bits_ = 0;
};

// A device that is not admitted today may be admitted tomorrow: it goes on
// asking, slowly.
inline constexpr PermanentFailures kPermanentCheckInFailures = {};
inline constexpr PermanentFailures kPermanentFetchFailures = {
    absl::StatusCode::kInvalidArgument,  absl::StatusCode::kNotFound,
    absl::StatusCode::kPermissionDenied, absl::StatusCode::kOutOfRange,
    absl::StatusCode::kDataLoss,         absl::StatusCode::kResourceExhausted,
    absl::StatusCode::kUnimplemented};
inline constexpr PermanentFailures kPermanentUploadFailures = {
    absl::StatusCode::kInvalidArgument,  absl::StatusCode::kNotFound,
    absl::StatusCode::kPermissionDenied, absl::StatusCode::kFailedPrecondition,
    absl::StatusCode::kAlreadyExists,    absl::StatusCode::kOutOfRange,
    absl::StatusCode::kDataLoss,         absl::StatusCode::kUnimplemented};
inline constexpr PermanentFailures kPermanentReportFailures = {
    absl::StatusCode::kInvalidArgument, absl::StatusCode::kNotFound,
    absl::StatusCode::kPermissionDenied, absl::StatusCode::kFailedPrecondition,
    absl::StatusCode::kUnimplemented};

// Public randomness for a device's pauses, which differ from device to device.
TrainingRandom JitterStream(const DeviceId& device, std::string_view purpose);

// Exponential backoff with full jitter: the n-th pause is uniform on
// [0, min(maximum, initial · 2ⁿ)], but at least `minimum` (so that a failure
// that comes at once does not become a loop).
class RetryBackoff {
 public:
  struct Options {
    absl::Duration minimum = absl::Milliseconds(50);
    absl::Duration initial = absl::Seconds(1);
    absl::Duration maximum = absl::Seconds(60);
  };

  RetryBackoff(const Options& options, TrainingRandom jitter)
      : options_(options), jitter_(jitter) {}

  // The pause after one more failure.
  absl::Duration Next();
  // After a success: the next failure is the first.
  void Reset() { failures_ = 0; }
  int failures() const { return failures_; }

 private:
  Options options_;
  TrainingRandom jitter_;
  int failures_ = 0;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_RETRY_POLICY_H_
