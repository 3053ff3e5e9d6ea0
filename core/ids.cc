#include "mledge/core/ids.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr size_t kMaxIdLength = 128;

bool IsAllowed(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' ||
         c == '_' || c == '-';
}

}  // namespace

absl::Status ValidateId(std::string_view what, std::string_view id) {
  if (id.empty()) {
    return absl::InvalidArgumentError(
        StrCat(what, " is empty: give it 1 to ", kMaxIdLength,
               " characters of A-Z, a-z, 0-9, '.', '_', '-'"));
  }
  if (id.size() > kMaxIdLength) {
    return absl::InvalidArgumentError(StrCat(what, " has ", id.size(),
                                             " characters, at most ",
                                             kMaxIdLength, " are allowed"));
  }
  for (size_t i = 0; i < id.size(); ++i) {
    if (!IsAllowed(id[i])) {
      return absl::InvalidArgumentError(StrCat(
          what, " \"", absl::CHexEscape(ToAbslView(id)), "\": character '",
          absl::CHexEscape(ToAbslView(id.substr(i, 1))), "' at position ", i,
          " is not allowed, use A-Z, a-z, 0-9, '.', '_', '-'"));
    }
  }
  if (id[0] == '.' || id[0] == '-') {
    return absl::InvalidArgumentError(
        StrCat(what, " \"", id, "\" must not start with '", id.substr(0, 1),
               "': start with a letter or a digit"));
  }
  return absl::OkStatus();
}

}  // namespace mledge
