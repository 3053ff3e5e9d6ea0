#ifndef MLEDGE_IDENTITY_INTERNAL_SIGNED_BYTES_H_
#define MLEDGE_IDENTITY_INTERNAL_SIGNED_BYTES_H_

#include <cstdint>
#include <string>
#include <string_view>

// What signatures cover: a domain, then fields that cannot run into each other.
// Private to identity/.

namespace mledge::identity_internal {

// 9999-12-31: what can be printed.
inline constexpr int64_t kLatestMilliseconds = 253402300799999;

// 8 bytes, big-endian.
inline void AppendU64(std::string& out, uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>((value >> shift) & 0xff));
  }
}

// The length, then the bytes.
inline void AppendField(std::string& out, std::string_view field) {
  AppendU64(out, field.size());
  out.append(field);
}

}  // namespace mledge::identity_internal

#endif  // MLEDGE_IDENTITY_INTERNAL_SIGNED_BYTES_H_
