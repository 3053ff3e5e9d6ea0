#include "mledge/aggregation/secagg/internal/client_session.h"
#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/core/status_macros.h"

// Round 1 on the device: fresh keys, vouched for with its certificate. Runs
// once the session's number is on disk, so that a device that crashes never
// joins the same session with other keys.

namespace mledge::secagg {

absl::Status SecaggClient::Advertise() {
  MLEDGE_ASSIGN_OR_RETURN(session_->secrets,
                          dependencies_.cryptography->MakeSecrets(
                              session_->offer, *dependencies_.random));
  const DeviceSecrets::PublicPart& shown = session_->secrets->Shown();

  v1::SecaggLeaf leaf;
  for (const std::string& certificate : dependencies_.signer->certificates()) {
    leaf.add_certificates(certificate);
  }
  leaf.set_mask_public_key(shown.mask_key);
  leaf.set_transport_public_key(shown.transport_key);
  leaf.set_self_mask_commitment(shown.self_mask_commitment.ToBytes());
  leaf.set_base_version(update_.base_version);

  v1::SignedSecaggLeaf signed_leaf;
  signed_leaf.set_leaf(leaf.SerializeAsString());
  signed_leaf.set_signature(dependencies_.signer->Sign(SignedBytes(
      kLeafContext, {session_->offer.hash.ToBytes(), signed_leaf.leaf()})));
  session_->leaf = signed_leaf.SerializeAsString();

  v1::SecaggDeviceMessage message;
  message.mutable_advertise()->set_leaf(session_->leaf);
  state_ = State::kAdvertised;
  Send(std::move(message));
  return absl::OkStatus();
}

}  // namespace mledge::secagg
