#ifndef MLEDGE_CORE_STRINGS_H_
#define MLEDGE_CORE_STRINGS_H_

#include <string>
#include <string_view>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

// Debian builds Abseil so that absl::string_view is a class of its own and not
// std::string_view, and neither converts to the other. Interfaces here use
// std::string_view; this is the bridge. Drop it when Debian's Abseil makes the
// two one type.

namespace mledge {

inline absl::string_view ToAbslView(std::string_view view) {
  return {view.data(), view.size()};
}
inline std::string_view ToStdView(absl::string_view view) {
  return {view.data(), view.size()};
}

namespace strings_internal {

template <typename T>
decltype(auto) Bridge(const T& value) {
  if constexpr (std::is_same_v<T, std::string_view>) {
    return ToAbslView(value);
  } else {
    return (value);
  }
}

}  // namespace strings_internal

// absl::StrCat that takes std::string_view as well.
template <typename... Parts>
std::string StrCat(const Parts&... parts) {
  return absl::StrCat(strings_internal::Bridge(parts)...);
}

// absl::StrAppend that takes std::string_view as well.
template <typename... Parts>
void StrAppend(std::string* destination, const Parts&... parts) {
  absl::StrAppend(destination, strings_internal::Bridge(parts)...);
}

}  // namespace mledge

#endif  // MLEDGE_CORE_STRINGS_H_
