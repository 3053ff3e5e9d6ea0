#include "mledge/cli/secagg_bench_identities.h"

#include <utility>
#include <vector>

#include "mledge/aggregation/secagg/unauthenticated.h"

namespace mledge {
namespace {

using secagg::CertificateMembers;
using secagg::CertificateSigner;

constexpr absl::Duration kValidity = absl::Hours(1000);

}  // namespace

SecaggBenchIdentities::SecaggBenchIdentities(bool on, absl::Time now)
    : on_(on), now_(now) {
  if (!on_) {
    members_ = std::make_unique<secagg::UnauthenticatedMembers>();
    return;
  }
  root_ = CertificateAuthority::CreateRoot("bench", now, kValidity).value();
  PrivateKey key = PrivateKey::Generate();
  const Certificate certificate =
      root_
          ->Issue(key.public_key(), {.identity = {Role::kRegistrar, "bench"},
                                     .now = now,
                                     .validity = kValidity})
          .value();
  registrar_ = CertificateAuthority::Create(certificate, key).value();
  v1::RevocationList list;
  list.set_number(1);
  list.set_issued_unix_milliseconds(absl::ToUnixMillis(now));
  list.set_fresh_until_unix_milliseconds(
      absl::ToUnixMillis(now + absl::Hours(24)));
  members_ = std::make_unique<CertificateMembers>(
      root_->certificate(), std::vector<Certificate>{registrar_->certificate()},
      RevocationList::Parse(RevocationList::Sign(list, *registrar_),
                            root_->certificate(), now, 0)
          .value(),
      absl::Hours(24));
}

std::unique_ptr<secagg::MemberSigner> SecaggBenchIdentities::MakeSigner(
    const std::string& id) const {
  if (!on_) return std::make_unique<secagg::UnauthenticatedSigner>(id);
  PrivateKey key = PrivateKey::Generate();
  const Certificate certificate =
      registrar_
          ->Issue(key.public_key(), {.identity = {Role::kDevice, id},
                                     .now = now_,
                                     .validity = kValidity})
          .value();
  return CertificateSigner::Create({&certificate, 1}, std::move(key)).value();
}

int64_t SecaggBenchIdentities::signatures_verified() const {
  return on_ ? static_cast<const CertificateMembers&>(*members_)
                   .signatures_verified()
             : 0;
}

}  // namespace mledge
