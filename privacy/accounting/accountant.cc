#include "mledge/privacy/accounting/accountant.h"

#include "mledge/core/status_macros.h"
#include "mledge/privacy/accounting/pld_accountant.h"

namespace mledge {
namespace {

// Composes `event` with the accountant of the options and asks it.
template <typename Ask>
absl::StatusOr<double> WithAccountant(const PrivacyEvent& event,
                                      const AccountantOptions& options,
                                      const Ask& ask) {
  if (options.kind == AccountantKind::kPld) {
    MLEDGE_ASSIGN_OR_RETURN(
        PldAccountant accountant,
        PldAccountant::Create({.adjacency = options.adjacency}));
    MLEDGE_RETURN_IF_ERROR(accountant.Compose(event));
    return ask(accountant);
  }
  MLEDGE_ASSIGN_OR_RETURN(
      RdpAccountant accountant,
      RdpAccountant::Create({.adjacency = options.adjacency,
                             .orders = options.orders,
                             .conversion = options.conversion}));
  MLEDGE_RETURN_IF_ERROR(accountant.Compose(event));
  return ask(accountant);
}

}  // namespace

absl::StatusOr<double> EpsilonOf(const PrivacyEvent& event, double delta,
                                 const AccountantOptions& options) {
  return WithAccountant(event, options, [&](const auto& accountant) {
    return accountant.Epsilon(delta);
  });
}

absl::StatusOr<double> DeltaOf(const PrivacyEvent& event, double epsilon,
                               const AccountantOptions& options) {
  return WithAccountant(event, options, [&](const auto& accountant) {
    return accountant.Delta(epsilon);
  });
}

std::string_view AccountantName(AccountantKind kind) {
  return kind == AccountantKind::kPld ? "pld" : "rdp";
}

}  // namespace mledge
