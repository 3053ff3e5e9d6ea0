#ifndef MLEDGE_CORE_LISTEN_ADDRESS_H_
#define MLEDGE_CORE_LISTEN_ADDRESS_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Where a server listens: "host:port", IPv6 hosts in brackets, port 0 for one
// that the system chooses. Pure functions, but that WhyNotListening asks the
// system.

namespace mledge {

struct ListenAddress {
  std::string host;
  int port = 0;

  // `field`: the setting, which an error names. INVALID_ARGUMENT: no address.
  static absl::StatusOr<ListenAddress> Parse(std::string_view field,
                                             std::string_view text);
  std::string ToString() const;
};

// UNAVAILABLE, with the reason and the remedy: gRPC says only that it could not
// listen; the system, asked directly, says why.
absl::Status WhyNotListening(std::string_view field,
                             const ListenAddress& address);

}  // namespace mledge

#endif  // MLEDGE_CORE_LISTEN_ADDRESS_H_
