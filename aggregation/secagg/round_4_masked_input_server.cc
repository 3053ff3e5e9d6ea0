#include <algorithm>

#include "mledge/aggregation/secagg/internal/server_group.h"
#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 4 on the server: each masked input is added as it arrives, range by
// range, and not kept.

namespace mledge::secagg {
namespace {

// Coordinates for which a second thread does not pay: they are added in about
// the time that it takes to wake one.
constexpr int64_t kFewestCoordinates = int64_t{1} << 17;

// Equal parts for the threads there are.
int64_t FoldGrain(int64_t size, const ThreadPool* pool) {
  const int64_t threads = pool == nullptr ? 1 : pool->size() + 1;
  const int64_t part =
      std::max(kFewestCoordinates, (size + threads - 1) / threads);
  return (part + kRangeAlignment - 1) / kRangeAlignment * kRangeAlignment;
}

}  // namespace

absl::Status ServerGroup::CheckMaskedInput(std::string_view bytes) const {
  if (static_cast<int64_t>(bytes.size()) != setup_.offer->masked_input_size()) {
    return absl::InvalidArgumentError(
        StrCat("a masked input of ", bytes.size(), " bytes, where ",
               setup_.offer->masked_input_size(), " are expected"));
  }
  int64_t end = 0;
  for (const OfferSection& section : setup_.offer->sections) {
    end += section.modulus.PackedSize(section.length);
    const int64_t used = section.length * section.modulus.bits() % 8;
    if (used != 0 && static_cast<uint8_t>(bytes[end - 1]) >> used != 0) {
      return absl::InvalidArgumentError(
          "the unused bits at the end of a section are not zero");
    }
  }
  return absl::OkStatus();
}

void ServerGroup::Fold(std::string_view bytes) {
  const auto* next = reinterpret_cast<const uint8_t*>(bytes.data());
  for (ModularVector& sum : sum_) {
    ParallelFor(setup_.pool, sum.size(), FoldGrain(sum.size(), setup_.pool),
                [&](int64_t begin, int64_t end) {
                  const Modulus modulus = sum.modulus();
                  const absl::Status added = sum.UnpackAndAdd(
                      begin, end,
                      {next + modulus.PackedSize(begin),
                       static_cast<size_t>(modulus.PackedSize(end - begin))});
                  // Sizes and the last bits were checked before.
                  CHECK(added.ok()) << added;
                });
    next += sum.packed_size();
  }
}

absl::Status ServerGroup::OnMaskedInput(absl::Time now, const DeviceId& device,
                                        const Digest& content_sha256,
                                        std::string_view bytes,
                                        ServerEffects& effects) {
  const uint32_t index = member_of_.at(device);
  Member& member = members_[index];
  if (member.masked_input.has_value()) {
    return *member.masked_input == content_sha256
               ? absl::OkStatus()
               : absl::AlreadyExistsError(
                     "another masked input of this device is here already");
  }
  // After the sets are fixed, a device that is dead stays dead: its mask key
  // may be known, and its self-mask would be all that hides this input.
  if (state_ != State::kMasking || member.lost || !member.shared) {
    return absl::FailedPreconditionError(
        "this device's masked input comes too late or out of order; it is to "
        "be thrown away");
  }
  absl::Status valid = CheckMaskedInput(bytes);
  if (valid.ok()) {
    Fold(bytes);
    member.masked_input = content_sha256;
  } else {
    Lose(index, Round::kMaskedInput, std::string(valid.message()));
  }
  Advance(now, /*deadline_passed=*/false, effects);
  return valid;
}

void ServerGroup::CloseMasking(absl::Time now, ServerEffects& effects) {
  for (uint32_t i = 0; i < members_.size(); ++i) {
    Member& member = members_[i];
    member.boxes.clear();
    member.boxes.shrink_to_fit();
    if (!member.shared) continue;
    if (member.masked_input.has_value()) {
      alive_.Insert(i);
    } else {
      dead_.Insert(i);
      Lose(i, Round::kMaskedInput, "sent no masked input in time");
    }
  }
  if (alive_.Count() < setup_.parameters.least_alive) {
    return Abort(absl::FailedPreconditionError(
                     StrCat(alive_.Count(), " masked inputs arrived, where ",
                            setup_.parameters.least_alive, " are needed")),
                 effects);
  }
  if (const absl::Status status = CheckRecoverable(false); !status.ok()) {
    return Abort(status, effects);
  }
  state_ = State::kWitnessing;
  deadline_ = now + setup_.options->consistency_time;
  effects.push_back(
      RequestSetsWitness{.task = setup_.offer->task,
                         .session_number = setup_.offer->session_number,
                         .group = setup_.group,
                         .session = setup_.session,
                         .sets = SetsHash(setup_.session, setup_.group,
                                          alive_.bytes(), dead_.bytes())});
}

}  // namespace mledge::secagg
