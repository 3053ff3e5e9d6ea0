#ifndef MLEDGE_IDENTITY_TLS_POLICY_H_
#define MLEDGE_IDENTITY_TLS_POLICY_H_

// TLS 1.3 and nothing older. The gRPC that is linked (1.51) offers no setting
// for it and allows 1.2; OpenSSL does, for every TLS context of the process.

namespace mledge {

// From now on every TLS connection of this process, on either side, is TLS 1.3
// or fails. Whoever opens connections calls it before making credentials; again
// is harmless. Thread-safe.
void RequireTls13();

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_TLS_POLICY_H_
