#include "mledge/aggregation/secagg/internal/client_session.h"
#include "mledge/aggregation/secagg/mask.h"
#include "mledge/core/status_macros.h"

// Round 4 on the device: the masked input is made once, kept on disk, and only
// ever sent again byte for byte. A second one under the same masks would show
// the difference of two inputs.

namespace mledge::secagg {

absl::Status SecaggClient::MaskInput() {
  Session& session = *session_;
  std::vector<MaskSeed> seeds;
  std::vector<MaskSign> signs;
  for (const Neighbor& neighbor : session.neighbors) {
    if (!neighbor.masked) continue;
    MLEDGE_ASSIGN_OR_RETURN(
        const SharedSecret secret,
        session.secrets->mask_key.Agree(*neighbor.mask_key));
    seeds.push_back(secret.DeriveMaskSeed({.session = session.id,
                                           .own_index = session.member,
                                           .peer_index = neighbor.member}));
    signs.push_back(SignInPair(session.member, neighbor.member));
  }

  auto packed = std::make_shared<std::string>(
      static_cast<size_t>(session.offer.masked_input_size()), '\0');
  int64_t offset = 0;
  for (uint32_t i = 0; i < update_.sections.size(); ++i) {
    ModularVector& section = update_.sections[i];
    std::vector<SignedMask> masks;
    masks.reserve(seeds.size() + 1);
    masks.push_back(
        {MaskKey(session.offer.cipher, session.secrets->self_mask_seed,
                 {.purpose = MaskPurpose::kSelf, .section = i}),
         MaskSign::kAdd});
    for (size_t seed = 0; seed < seeds.size(); ++seed) {
      masks.push_back({MaskKey(session.offer.cipher, seeds[seed],
                               {.purpose = MaskPurpose::kPair, .section = i}),
                       signs[seed]});
    }
    ApplyMasks(masks, &section, /*pool=*/nullptr);
    const int64_t size = section.packed_size();
    MLEDGE_RETURN_IF_ERROR(
        section.PackRange(0, section.size(),
                          {reinterpret_cast<uint8_t*>(packed->data()) + offset,
                           static_cast<size_t>(size)}));
    offset += size;
  }

  // The keys have done their work: others hold their shares.
  session.secrets.reset();
  for (Neighbor& neighbor : session.neighbors) {
    neighbor.box_keys.reset();
    neighbor.mask_key.reset();
    neighbor.transport_key.reset();
  }
  update_.sections.clear();
  session.content_sha256 = Sha256Of(*packed).ToBytes();
  masked_input_ = std::move(packed);
  RememberSpent();
  state_ = State::kMasking;
  Persist(PersistJournal::MaskedInput::kStore);
  return absl::OkStatus();
}

}  // namespace mledge::secagg
