#include "mledge/aggregation/secagg/internal/client_session.h"
#include "mledge/core/status_macros.h"

// Round 4 on the device: the masked input is made once, kept on disk, and only
// ever sent again byte for byte. A second one under the same masks would show
// the difference of two inputs.

namespace mledge::secagg {

absl::Status SecaggClient::MaskInput() {
  Session& session = *session_;
  std::vector<size_t> masked;
  for (size_t i = 0; i < session.neighbors.size(); ++i) {
    if (session.neighbors[i].masked) masked.push_back(i);
  }
  MLEDGE_RETURN_IF_ERROR(session.secrets->Mask(masked, update_.sections));
  // They have done their work: others hold their shares.
  session.secrets.reset();

  auto packed = std::make_shared<std::string>(
      static_cast<size_t>(session.offer.masked_input_size()), '\0');
  int64_t offset = 0;
  for (const ModularVector& section : update_.sections) {
    const int64_t size = section.packed_size();
    MLEDGE_RETURN_IF_ERROR(
        section.PackRange(0, section.size(),
                          {reinterpret_cast<uint8_t*>(packed->data()) + offset,
                           static_cast<size_t>(size)}));
    offset += size;
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
