#ifndef MLEDGE_TESTS_SUPPORT_UNDEFINED_RANDOM_H_
#define MLEDGE_TESTS_SUPPORT_UNDEFINED_RANDOM_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "mledge/core/secret_random.h"

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define MLEDGE_HAVE_MEMCHECK 1
#else
#define MLEDGE_HAVE_MEMCHECK 0
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_MAKE_MEM_UNDEFINED(address, size)
#define VALGRIND_MAKE_MEM_DEFINED(address, size)
#endif

// For the subjects of constant_time_test.cc: programs that run what touches
// secrets while valgrind believes the secrets to be uninitialized, so that a
// branch or an address that depends on one is an error. Run by hand they prove
// nothing.

namespace mledge {

// A subject's exit status where valgrind does not watch.
inline constexpr int kNoValgrind = 77;

// Gives secrets, as valgrind sees it.
class UndefinedRandom final : public SecretRandom {
 public:
  void Fill(std::span<uint8_t> out) override {
    for (uint8_t& byte : out) byte = next_ = next_ * 5 + 17;
    VALGRIND_MAKE_MEM_UNDEFINED(out.data(), out.size());
  }

 private:
  uint8_t next_ = 1;
};

// What leaves the device is no secret any more.
template <typename Bytes>
void MakePublic(const Bytes& bytes) {
  VALGRIND_MAKE_MEM_DEFINED(bytes.data(), bytes.size());
}

// main() of a subject. Without arguments it runs `all`, which is false where
// something failed; with --leak it runs `leak`, a branch on a secret.
inline int RunConstantTimeSubject(
    int argc, char** argv, const std::function<bool(UndefinedRandom&)>& all,
    const std::function<void(UndefinedRandom&)>& leak) {
  if (!MLEDGE_HAVE_MEMCHECK || !RUNNING_ON_VALGRIND) return kNoValgrind;
  UndefinedRandom random;
  if (argc > 1 && std::string_view(argv[1]) == "--leak") {
    leak(random);
    return 0;
  }
  return all(random) ? 0 : 1;
}

}  // namespace mledge

#endif  // MLEDGE_TESTS_SUPPORT_UNDEFINED_RANDOM_H_
