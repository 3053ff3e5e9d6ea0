#include "mledge/aggregation/secagg/internal/client_session.h"
#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/core/status_macros.h"

// Round 1 on the device: fresh keys, vouched for with its certificate. Runs
// once the session's number is on disk, so that a device that crashes never
// joins the same session with other keys.

namespace mledge::secagg {

absl::Status SecaggClient::Advertise() {
  SecretRandom& random = *dependencies_.random;
  const AgreementSuite suite = session_->offer.agreement;
  MaskSeed mask_key_seed = MaskSeed::Generate(random);
  // Of its own randomness: what recovers the mask key says nothing about it.
  const MaskSeed transport_key_seed = MaskSeed::Generate(random);
  MLEDGE_ASSIGN_OR_RETURN(
      AgreementKeyPair mask_key,
      AgreementKeyPair::FromSeed(suite, mask_key_seed, KeyRole::kMask));
  MLEDGE_ASSIGN_OR_RETURN(AgreementKeyPair transport_key,
                          AgreementKeyPair::FromSeed(suite, transport_key_seed,
                                                     KeyRole::kTransport));
  session_->secrets.emplace(
      Session::Secrets{.mask_key_seed = std::move(mask_key_seed),
                       .self_mask_seed = MaskSeed::Generate(random),
                       .mask_key = std::move(mask_key),
                       .transport_key = std::move(transport_key)});
  const Session::Secrets& secrets = *session_->secrets;

  v1::SecaggLeaf leaf;
  for (const std::string& certificate : dependencies_.signer->certificates()) {
    leaf.add_certificates(certificate);
  }
  leaf.set_mask_public_key(secrets.mask_key.public_key().encoded());
  leaf.set_transport_public_key(secrets.transport_key.public_key().encoded());
  leaf.set_self_mask_commitment(CommitTo(secrets.self_mask_seed).ToBytes());
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
