#include "mledge/coordinator/grpc/credentials.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <string>
#include <string_view>

#include "mledge/identity/tls_policy.h"

namespace mledge {
namespace {

constexpr unsigned kRefreshSeconds = 10;

}  // namespace

std::shared_ptr<grpc::ServerCredentials> MutualTlsServerCredentials(
    const v1::IdentityFiles& files) {
  RequireTls13();
  grpc::experimental::TlsServerCredentialsOptions options(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          files.private_key(), files.certificate(), files.root(),
          kRefreshSeconds));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  return grpc::experimental::TlsServerCredentials(options);
}

std::shared_ptr<grpc::ChannelCredentials> MutualTlsChannelCredentials(
    const TlsIdentity& identity) {
  RequireTls13();
  const std::span<const uint8_t> key =
      identity.private_key_pem.bytes(RevealSecret());
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = identity.root_pem;
  options.pem_cert_chain = identity.certificate_chain_pem;
  options.pem_private_key.assign(reinterpret_cast<const char*>(key.data()),
                                 key.size());
  return grpc::SslCredentials(options);
}

}  // namespace mledge
