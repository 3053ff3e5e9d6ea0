#ifndef MLEDGE_IDENTITY_GRPC_REGISTRAR_CLIENT_H_
#define MLEDGE_IDENTITY_GRPC_REGISTRAR_CLIENT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/core/sha256.h"
#include "mledge/identity/identity.h"
#include "mledge/identity/private_key.h"
#include "mledge/identity/tls_identity.h"
#include "mledge/identity/witness.h"
#include "mledge/identity/witness_key.h"
#include "mledge/v1/registrar_service.pb.h"
#include "mledge/v1/signature.pb.h"

// The registrar over the network, for devices, coordinators and operators:
// mutual TLS 1.3, a peer whose certificate has the role registrar-server. No
// gRPC in this header. Calls block for at most the timeout; those of Witness do
// not block and answer on a thread of the client. Reconnects by itself;
// thread-safe.
//
// UNAVAILABLE: cannot be reached. UNAUTHENTICATED: what answers there is not
// the registrar. DEADLINE_EXCEEDED: no answer in time; whether the request was
// carried out is not known, and asking again is harmless. Else the codes of
// registrar_service.proto.

namespace mledge {

class RegistrarClient : public Witness {
 public:
  struct Options {
    // "host:port". Required.
    std::string address;
    // Name that the registrar's certificate must carry. Empty: the host.
    std::string name;
    // Of one call, at least 1 ms.
    absl::Duration timeout = absl::Seconds(10);
    // Calls of Witness that run at a time.
    int threads = 2;
  };

  // `witness_key` is what statements are verified with. INVALID_ARGUMENT: no
  // address, or one without port; `identity` is of no use (says why). Does not
  // connect yet.
  static absl::StatusOr<std::unique_ptr<RegistrarClient>> Create(
      Options options, const TlsIdentity& identity,
      WitnessPublicKey witness_key);
  // For those that have nothing witnessed: operators at a shell.
  static absl::StatusOr<std::unique_ptr<RegistrarClient>> Create(
      Options options, const TlsIdentity& identity);

  // Ends calls under way; their callbacks run, with CANCELLED, before it
  // returns.
  ~RegistrarClient() override = default;

  // The chain, PEM; see registrar_service.proto.
  virtual absl::StatusOr<std::string> IssueCertificate(
      const std::string& csr_pem) = 0;
  // Not yet verified: RevocationList::Parse does.
  virtual absl::StatusOr<v1::SignedMessage> GetRevocationList() = 0;
  // The same without waiting; `done` as in Witness.
  virtual void FetchRevocationList(
      std::function<void(absl::StatusOr<v1::SignedMessage>)> done) = 0;
  virtual absl::StatusOr<uint64_t> Revoke(const v1::RevokeRequest& request) = 0;
  virtual absl::StatusOr<std::string> CreateEnrollmentToken(
      const Identity& identity, absl::Time expires_at) = 0;
  virtual absl::StatusOr<v1::ListIssuedResponse> ListIssued(
      const v1::ListIssuedRequest& request) = 0;
};

struct EnrollOptions {
  std::string address;  // of the registrar's enroll_listen
  std::string name;     // as in RegistrarClient::Options
  std::string token;
  // Came with the token; the only thing that is trusted beforehand.
  Digest root_fingerprint;
  Identity identity;  // the one that the token is for
  absl::Duration timeout = absl::Seconds(10);
};

struct Enrolled {
  std::string certificate_chain_pem;
  std::string root_pem;  // its fingerprint has been checked
};

// With a token to a first certificate. The key stays here. UNAUTHENTICATED: the
// peer does not show the pinned root, and was not shown the token.
// PERMISSION_DENIED: the token is not good (any more); DATA_LOSS: the answer is
// no certificate for this key and identity.
absl::StatusOr<Enrolled> EnrollWithToken(const EnrollOptions& options,
                                         const PrivateKey& key);

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_GRPC_REGISTRAR_CLIENT_H_
