#ifndef MLEDGE_AGGREGATION_INTERNAL_SEALED_STATE_H_
#define MLEDGE_AGGREGATION_INTERNAL_SEALED_STATE_H_

#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "mledge/core/sha256.h"

// The frame around saved state: 8 bytes of magic, 32 bytes that say what the
// state belongs to, the state, and the SHA-256 of all that.

namespace mledge::aggregation_internal {

// Concatenates `parts`. `magic` has 8 characters.
std::string SealState(std::string_view magic, const Digest& belongs_to,
                      std::span<const std::string_view> parts);

// The state inside `bytes`, `size` bytes long. DATA_LOSS: damaged or something
// else. FAILED_PRECONDITION: intact, but not of `belongs_to`.
absl::StatusOr<std::string_view> OpenState(std::string_view magic,
                                           const Digest& belongs_to,
                                           size_t size, std::string_view bytes);

}  // namespace mledge::aggregation_internal

#endif  // MLEDGE_AGGREGATION_INTERNAL_SEALED_STATE_H_
