#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "mledge/identity/certificate.h"
#include "mledge/tests/support/test_pki.h"

// Which certificates a TLS library takes for which end of a connection: the key
// usages that CertificateAuthority writes, judged by OpenSSL itself. The real
// time, because OpenSSL looks at it.

namespace mledge {
namespace {

struct Free {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* connection) const { SSL_free(connection); }
};
using ContextPtr = std::unique_ptr<SSL_CTX, Free>;
using ConnectionPtr = std::unique_ptr<SSL, Free>;

ContextPtr MakeContext(const TlsIdentity& identity) {
  ContextPtr context(SSL_CTX_new(TLS_method()));
  SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION);
  const std::vector<Certificate> chain =
      ParsePemChain(identity.certificate_chain_pem).value();
  SSL_CTX_use_certificate(context.get(), chain[0].handle());
  SSL_CTX_add1_chain_cert(context.get(), chain[1].handle());
  SSL_CTX_use_PrivateKey(
      context.get(), PrivateKey::FromPem(identity.private_key_pem)->handle());
  X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()),
                      ParseRoot(identity.root_pem)->handle());
  SSL_CTX_set_verify(context.get(),
                     SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                     nullptr);
  return context;
}

// Both ends in memory; true when each has accepted the other.
bool Connects(const TlsIdentity& server, const TlsIdentity& client,
              const std::string& host = "localhost") {
  const ContextPtr server_context = MakeContext(server);
  const ContextPtr client_context = MakeContext(client);
  const ConnectionPtr server_end(SSL_new(server_context.get()));
  const ConnectionPtr client_end(SSL_new(client_context.get()));
  BIO* server_bio = nullptr;
  BIO* client_bio = nullptr;
  BIO_new_bio_pair(&server_bio, 0, &client_bio, 0);
  SSL_set_bio(server_end.get(), server_bio, server_bio);
  SSL_set_bio(client_end.get(), client_bio, client_bio);
  SSL_set_accept_state(server_end.get());
  SSL_set_connect_state(client_end.get());
  SSL_set1_host(client_end.get(), host.c_str());
  bool server_done = false;
  bool client_done = false;
  // A handshake takes two passes; the rest is for a failure to arrive.
  for (int i = 0; i < 10; ++i) {
    client_done = SSL_do_handshake(client_end.get()) == 1;
    server_done = SSL_do_handshake(server_end.get()) == 1;
  }
  ERR_clear_error();
  return server_done && client_done;
}

class TlsHandshakeTest : public ::testing::Test {
 protected:
  const TestPki pki_{absl::Now()};
  const TlsIdentity coordinator_ = pki_.Issue(Role::kCoordinator, "main");
};

TEST_F(TlsHandshakeTest, DevicesOperatorsAndEvaluatorsReachTheCoordinator) {
  for (const Role role : {Role::kDevice, Role::kOperator, Role::kEvaluator}) {
    EXPECT_TRUE(Connects(coordinator_, pki_.Issue(role, "one")))
        << ToString(role);
  }
}

TEST_F(TlsHandshakeTest, CoordinatorIsReachedUnderItsNamesOnly) {
  const TlsIdentity device = pki_.Issue(Role::kDevice, "one");
  EXPECT_TRUE(Connects(coordinator_, device, "127.0.0.1"));
  EXPECT_FALSE(Connects(coordinator_, device, "example.org"));
}

TEST_F(TlsHandshakeTest, NobodyElseStandsInForTheCoordinator) {
  for (const Role role :
       {Role::kDevice, Role::kOperator, Role::kEvaluator, Role::kModelSigner}) {
    EXPECT_FALSE(Connects(pki_.Issue(role, "localhost"),
                          pki_.Issue(Role::kDevice, "one")))
        << ToString(role);
  }
}

TEST_F(TlsHandshakeTest, ModelSignerDoesNotConnect) {
  EXPECT_FALSE(Connects(coordinator_, pki_.Issue(Role::kModelSigner, "mona")));
}

TEST_F(TlsHandshakeTest, ForeignDeviceDoesNotConnect) {
  const TestPki other(absl::Now());
  EXPECT_FALSE(Connects(coordinator_, other.Issue(Role::kDevice, "one")));
}

TEST_F(TlsHandshakeTest, ExpiredDeviceDoesNotConnect) {
  // Issued in the past by a registrar that was valid then.
  const TestPki past(absl::Now() - absl::Hours(48));
  const TlsIdentity coordinator = past.Issue(Role::kCoordinator, "main");
  EXPECT_TRUE(
      Connects(coordinator, past.Issue(Role::kDevice, "one", absl::Hours(72))));
  EXPECT_FALSE(
      Connects(coordinator, past.Issue(Role::kDevice, "old", absl::Hours(24))));
}

}  // namespace
}  // namespace mledge
