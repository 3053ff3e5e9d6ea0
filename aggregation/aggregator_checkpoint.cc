#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "mledge/aggregation/aggregator.h"
#include "mledge/aggregation/internal/sealed_state.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Format of a checkpoint's state, little-endian 64-bit integers: count,
// weight_sum, the scalars, then each section's integers, in the spec's order.

namespace mledge {
namespace {

constexpr std::string_view kCheckpointMagic = "MLEDGEAG";

std::string_view BytesOf(std::span<const int64_t> integers) {
  return {reinterpret_cast<const char*>(integers.data()),
          integers.size_bytes()};
}

}  // namespace

Digest Aggregator::SpecFingerprint() const {
  Sha256 hash;
  hash.UpdateField("mledge/aggregation-spec/1");
  hash.UpdateU64(spec_.sections.size());
  for (const AggregationSpec::Section& section : spec_.sections) {
    hash.UpdateField(section.name);
    hash.UpdateU64(static_cast<uint64_t>(section.elements));
  }
  hash.UpdateU64(spec_.scalars.size());
  for (const std::string& name : spec_.scalars) hash.UpdateField(name);
  hash.UpdateU64(std::bit_cast<uint64_t>(spec_.value_bound));
  hash.UpdateU64(static_cast<uint64_t>(spec_.weight_bound));
  hash.UpdateU64(static_cast<uint64_t>(spec_.maximum_updates));
  return hash.Finish();
}

std::string Aggregator::Serialize() const {
  std::vector<int64_t> head = {sum_.count, sum_.weight_sum};
  for (const AggregationSum::ScalarSum& scalar : sum_.scalars) {
    head.push_back(scalar.integer);
  }
  std::vector<std::string_view> parts = {BytesOf(head)};
  for (const AggregationSum::Section& section : sum_.sections) {
    parts.push_back(BytesOf(section.integers));
  }
  return aggregation_internal::SealState(kCheckpointMagic, SpecFingerprint(),
                                         parts);
}

// What no sum over this spec can be would overflow when more is added. Values
// of sections are added modulo 2^64 and need no look.
absl::Status Aggregator::CheckTotals(int64_t count, int64_t weight_sum,
                                     std::span<const int64_t> scalars) const {
  // With this, the updates that may still come end below 2^63 (ScalarBound).
  const int64_t largest = count > 0 ? int64_t{1} << 62 : 0;
  const bool possible = count >= 0 && count <= spec_.maximum_updates &&
                        weight_sum >= count &&
                        weight_sum <= count * spec_.weight_bound &&
                        std::ranges::all_of(scalars, [&](int64_t scalar) {
                          return scalar >= -largest && scalar <= largest;
                        });
  if (possible) return absl::OkStatus();
  return absl::DataLossError(StrCat(
      "a saved state says that it is the sum of ", count, " updates of weight ",
      weight_sum, " together, which the task does not allow"));
}

absl::Status Aggregator::Restore(std::string_view bytes) {
  size_t size = (2 + sum_.scalars.size()) * sizeof(int64_t);
  for (const AggregationSum::Section& section : sum_.sections) {
    size += section.integers.size() * sizeof(int64_t);
  }
  MLEDGE_ASSIGN_OR_RETURN(
      std::string_view state,
      aggregation_internal::OpenState(kCheckpointMagic, SpecFingerprint(), size,
                                      bytes));
  const auto take = [&state](int64_t* out, size_t count) {
    std::memcpy(out, state.data(), count * sizeof(int64_t));
    state.remove_prefix(count * sizeof(int64_t));
  };
  std::vector<int64_t> head(2 + sum_.scalars.size());
  take(head.data(), head.size());
  const std::span<const int64_t> scalars = std::span(head).subspan(2);
  MLEDGE_RETURN_IF_ERROR(CheckTotals(head[0], head[1], scalars));
  sum_.count = head[0];
  sum_.weight_sum = head[1];
  for (size_t i = 0; i < scalars.size(); ++i) {
    sum_.scalars[i].integer = scalars[i];
  }
  for (AggregationSum::Section& section : sum_.sections) {
    // An empty vector has no address to copy to.
    if (!section.integers.empty()) {
      take(section.integers.data(), section.integers.size());
    }
  }
  return absl::OkStatus();
}

}  // namespace mledge
