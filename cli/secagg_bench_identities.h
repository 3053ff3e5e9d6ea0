#ifndef MLEDGE_CLI_SECAGG_BENCH_IDENTITIES_H_
#define MLEDGE_CLI_SECAGG_BENCH_IDENTITIES_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "mledge/aggregation/secagg/membership.h"
#include "mledge/identity/certificate_authority.h"

// Who the members of a measured session are: devices with certificates of a
// registrar made for the run, or, for comparing with systems that have no
// identities, bare names. Not thread-safe.

namespace mledge {

class SecaggBenchIdentities {
 public:
  SecaggBenchIdentities(bool on, absl::Time now);

  std::unique_ptr<secagg::MemberSigner> MakeSigner(const std::string& id) const;
  secagg::MemberVerifier* members() { return members_.get(); }
  // 0 without identities.
  int64_t signatures_verified() const;

 private:
  const bool on_;
  const absl::Time now_;
  std::optional<CertificateAuthority> root_;
  std::optional<CertificateAuthority> registrar_;
  std::unique_ptr<secagg::MemberVerifier> members_;
};

}  // namespace mledge

#endif  // MLEDGE_CLI_SECAGG_BENCH_IDENTITIES_H_
