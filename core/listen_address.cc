#include "mledge/core/listen_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "absl/strings/numbers.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

std::string Reason(const ListenAddress& address) {
  std::string host = address.host;
  if (host.size() > 2 && host.front() == '[') {
    host = host.substr(1, host.size() - 2);
  }
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(host.c_str(), StrCat(address.port).c_str(), &hints, &found);
  if (error != 0) return StrCat("'", host, "': ", gai_strerror(error));
  std::string reason = "gRPC gave no reason";
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    const int fd = socket(each->ai_family, each->ai_socktype, 0);
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd >= 0 && (bind(fd, each->ai_addr, each->ai_addrlen) != 0 ||
                    listen(fd, 1) != 0)) {
      reason = std::generic_category().message(errno);
    }
    if (fd >= 0) close(fd);
  }
  freeaddrinfo(found);
  return reason;
}

}  // namespace

absl::StatusOr<ListenAddress> ListenAddress::Parse(std::string_view field,
                                                   std::string_view text) {
  const size_t colon = text.rfind(':');
  ListenAddress result;
  if (colon == std::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(ToAbslView(text.substr(colon + 1)), &result.port) ||
      result.port < 0 || result.port > 65535) {
    return absl::InvalidArgumentError(
        StrCat(field, ": '", text,
               "' is no address; write host:port, for example 0.0.0.0:7443"));
  }
  result.host = std::string(text.substr(0, colon));
  return result;
}

std::string ListenAddress::ToString() const { return StrCat(host, ":", port); }

absl::Status WhyNotListening(std::string_view field,
                             const ListenAddress& address) {
  return absl::UnavailableError(
      StrCat("cannot listen on ", address.ToString(), ": ", Reason(address),
             ". Stop what uses the address, or change `", field, "`"));
}

}  // namespace mledge
