#ifndef MLEDGE_CORE_BYTES_H_
#define MLEDGE_CORE_BYTES_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

// Text as the bytes that OpenSSL and SQLite work on. Valid as long as the text.

namespace mledge {

inline std::span<const uint8_t> AsBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::span<uint8_t> AsWritableBytes(std::string& text) {
  return {reinterpret_cast<uint8_t*>(text.data()), text.size()};
}

}  // namespace mledge

#endif  // MLEDGE_CORE_BYTES_H_
