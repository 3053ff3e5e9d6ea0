#ifndef MLEDGE_TESTS_FUZZ_FUZZ_INPUT_H_
#define MLEDGE_TESTS_FUZZ_FUZZ_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

// A fuzzer's bytes as a script, read from the front.

namespace mledge {

class FuzzInput {
 public:
  explicit FuzzInput(std::string_view bytes) : bytes_(bytes) {}

  bool empty() const { return bytes_.empty(); }
  // 0 at the end.
  uint8_t Byte() {
    const std::string_view byte = Take(1);
    return byte.empty() ? 0 : static_cast<uint8_t>(byte[0]);
  }
  // Fewer at the end.
  std::string_view Take(size_t size) {
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(taken.size());
    return taken;
  }
  // As many as the next byte says.
  std::string_view Field() { return Take(Byte()); }

 private:
  std::string_view bytes_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_FUZZ_FUZZ_INPUT_H_
