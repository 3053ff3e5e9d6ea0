#include "mledge/identity/grpc/peer_verifier.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <utility>
#include <vector>

#include "mledge/core/strings.h"
#include "mledge/identity/tls_policy.h"

namespace mledge {
namespace {

using grpc::experimental::IdentityKeyCertPair;
using grpc::experimental::StaticDataCertificateProvider;
using grpc::experimental::TlsCustomVerificationCheckRequest;

class PeerVerifier final
    : public grpc::experimental::ExternalCertificateVerifier {
 public:
  PeerVerifier(PeerCheck check, std::shared_ptr<HandshakeFailure> failure)
      : check_(std::move(check)), failure_(std::move(failure)) {}

  bool Verify(TlsCustomVerificationCheckRequest* request,
              std::function<void(grpc::Status)>,
              grpc::Status* sync_status) override {
    const grpc::string_ref chain = request->peer_cert_full_chain();
    const absl::Status status = check_({chain.data(), chain.size()});
    failure_->Set(status);
    *sync_status = status.ok() ? grpc::Status::OK
                               : grpc::Status(grpc::StatusCode::UNAUTHENTICATED,
                                              std::string(status.message()));
    return true;  // decided here and now
  }
  void Cancel(TlsCustomVerificationCheckRequest*) override {}

 private:
  const PeerCheck check_;
  const std::shared_ptr<HandshakeFailure> failure_;
};

}  // namespace

std::shared_ptr<grpc::ChannelCredentials> CheckedChannelCredentials(
    const TlsIdentity* identity, PeerCheck check,
    std::shared_ptr<HandshakeFailure> failure) {
  RequireTls13();
  grpc::experimental::TlsChannelCredentialsOptions tls;
  if (identity != nullptr) {
    const std::span<const uint8_t> key =
        identity->private_key_pem.bytes(RevealSecret());
    // gRPC keeps its own copy of the key for as long as the channel lives.
    tls.set_certificate_provider(
        std::make_shared<StaticDataCertificateProvider>(
            identity->root_pem,
            std::vector<IdentityKeyCertPair>{
                {.private_key = std::string(
                     reinterpret_cast<const char*>(key.data()), key.size()),
                 .certificate_chain = identity->certificate_chain_pem}}));
    tls.watch_root_certs();
    tls.watch_identity_key_cert_pairs();
  }
  // gRPC's own checks would refuse without a reason.
  tls.set_verify_server_certs(false);
  tls.set_check_call_host(false);
  tls.set_certificate_verifier(
      grpc::experimental::ExternalCertificateVerifier::Create<PeerVerifier>(
          std::move(check), std::move(failure)));
  return grpc::experimental::TlsCredentials(tls);
}

absl::StatusOr<std::string> HostOf(std::string_view what,
                                   const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == address.size()) {
    return absl::InvalidArgumentError(
        StrCat(what, " '", address, "': write host:port"));
  }
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  return host;
}

}  // namespace mledge
