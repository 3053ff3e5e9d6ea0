#include <algorithm>

#include "mledge/aggregation/secagg/internal/client_session.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 0 on the device: is this a session that it wants, for the update that
// it holds?

namespace mledge::secagg {
namespace {

absl::Status RefuseOffer(std::string_view why) {
  return absl::FailedPreconditionError(StrCat("offer: ", why));
}

// The model that this update was trained from is the one that the session and
// the signed version log speak of. Everything agreed upon later is derived from
// H(offer), so devices that were given different models share no masks.
absl::Status CheckModel(const Offer& offer, const ClientUpdate& update) {
  if (offer.task != update.task) return RefuseOffer("is for another task");
  if (offer.package != update.package)
    return RefuseOffer("is for another package");
  if (!offer.AllowsBaseVersion(update.base_version)) {
    return RefuseOffer(StrCat("is about version ", offer.current_version(),
                              " and at most ", offer.maximum_staleness,
                              " before it; the update is from version ",
                              update.base_version));
  }
  if (offer.EntryOf(update.base_version) != update.base_version_entry) {
    return RefuseOffer(StrCat("version ", update.base_version,
                              " in its version log is not the model that this "
                              "device was given"));
  }
  if (offer.sections.size() != update.sections.size()) {
    return RefuseOffer(StrCat("has ", offer.sections.size(),
                              " sections, the update ",
                              update.sections.size()));
  }
  for (size_t i = 0; i < offer.sections.size(); ++i) {
    const ModularVector& section = update.sections[i];
    if (offer.sections[i].length != section.size() ||
        !(offer.sections[i].modulus == section.modulus())) {
      return RefuseOffer(StrCat(
          "section ", i, " has ", offer.sections[i].length, " coordinates of ",
          offer.sections[i].modulus.bits(), " bits, in the update ",
          section.size(), " of ", section.modulus().bits()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SecaggClient::OnOffer(absl::Time now,
                                   const v1::SecaggOfferMessage& message) {
  if (update_spent_) {
    return RefuseOffer(
        "the update already went into a session; what was sent there would "
        "show the difference");
  }
  MLEDGE_ASSIGN_OR_RETURN(Offer offer, Offer::Parse(message.offer()));
  MLEDGE_RETURN_IF_ERROR(
      Annotate(dependencies_.cryptography->Verify(offer.version_log,
                                                  *dependencies_.registrar),
               "offer: version log"));
  MLEDGE_RETURN_IF_ERROR(CheckModel(offer, update_));
  if (offer.session_number <= journal_.session_number()) {
    return RefuseOffer(
        StrCat("session ", offer.session_number,
               " is not above the last one that this device joined, ",
               journal_.session_number()));
  }
  if (offer.expires <= now) return RefuseOffer("has expired");
  if (offer.expires > now + policy_.maximum_lifetime) {
    return RefuseOffer(StrCat("would last longer than ",
                              absl::FormatDuration(policy_.maximum_lifetime)));
  }

  // A day's sessions, by this device's own count.
  std::vector<int64_t> joined;
  for (const int64_t time : journal_.joined_unix_milliseconds()) {
    if (absl::FromUnixMillis(time) > now - absl::Hours(24)) {
      joined.push_back(time);
    }
  }
  if (static_cast<int64_t>(joined.size()) >= policy_.sessions_per_day) {
    return RefuseOffer(StrCat("this device has joined ", joined.size(),
                              " sessions within a day, which is its limit"));
  }
  joined.push_back(absl::ToUnixMillis(now));
  journal_.set_session_number(offer.session_number);
  journal_.mutable_joined_unix_milliseconds()->Assign(joined.begin(),
                                                      joined.end());

  session_ = std::make_unique<Session>(std::move(offer));
  WakeAtExpiry();
  state_ = State::kJoining;
  Persist(PersistJournal::MaskedInput::kErase);
  return absl::OkStatus();
}

}  // namespace mledge::secagg
