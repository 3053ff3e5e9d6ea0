#ifndef MLEDGE_TESTS_FUZZ_EDIT_BYTES_H_
#define MLEDGE_TESTS_FUZZ_EDIT_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

// How a fuzz target bends something sound, so that it stays sound elsewhere.

namespace mledge {

// Each three bytes of `edits` are a position (two bytes, modulo the size) and
// the byte to put there.
inline std::string EditBytes(std::string sound, std::string_view edits) {
  for (size_t i = 0; i + 2 < edits.size() && !sound.empty(); i += 3) {
    const size_t position = static_cast<uint8_t>(edits[i]) * size_t{256} +
                            static_cast<uint8_t>(edits[i + 1]);
    sound[position % sound.size()] = edits[i + 2];
  }
  return sound;
}

}  // namespace mledge

#endif  // MLEDGE_TESTS_FUZZ_EDIT_BYTES_H_
