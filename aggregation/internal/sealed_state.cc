#include "mledge/aggregation/internal/sealed_state.h"

#include "absl/status/status.h"
#include "mledge/core/strings.h"

namespace mledge::aggregation_internal {
namespace {

constexpr size_t kMagicSize = 8;
constexpr size_t kDigestSize = 32;

}  // namespace

std::string SealState(std::string_view magic, const Digest& belongs_to,
                      std::span<const std::string_view> parts) {
  size_t size = kMagicSize + 2 * kDigestSize;
  for (std::string_view part : parts) size += part.size();
  std::string bytes;
  bytes.reserve(size);
  bytes += magic;
  bytes += belongs_to.ToBytes();
  for (std::string_view part : parts) bytes += part;
  bytes += Sha256Of(std::string_view(bytes)).ToBytes();
  return bytes;
}

absl::StatusOr<std::string_view> OpenState(std::string_view magic,
                                           const Digest& belongs_to,
                                           size_t size,
                                           std::string_view bytes) {
  if (bytes.size() < kMagicSize + 2 * kDigestSize ||
      !bytes.starts_with(magic)) {
    return absl::DataLossError(
        StrCat("not a saved state: it does not start with ", magic));
  }
  const std::string_view body = bytes.substr(0, bytes.size() - kDigestSize);
  if (Sha256Of(body).ToBytes() != bytes.substr(body.size())) {
    return absl::DataLossError(
        "a saved state is damaged: its SHA-256 does not match");
  }
  if (body.substr(kMagicSize, kDigestSize) != belongs_to.ToBytes()) {
    return absl::FailedPreconditionError(
        "a saved state belongs to another model, task or setting");
  }
  const std::string_view state = body.substr(kMagicSize + kDigestSize);
  if (state.size() != size) {
    return absl::DataLossError(StrCat("a saved state has ", state.size(),
                                      " bytes where ", size, " belong"));
  }
  return state;
}

}  // namespace mledge::aggregation_internal
