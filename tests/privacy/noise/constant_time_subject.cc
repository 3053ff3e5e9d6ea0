// Draws noise while valgrind believes the random bytes to be uninitialized: a
// branch or an address that depends on one is then an error. Started by
// constant_time_test.cc; run by hand it proves nothing.
//
//   noise_constant_time_subject          all samplers
//   noise_constant_time_subject --leak   a branch on a draw, to see it found

#include <cstdint>
#include <cstdio>
#include <span>
#include <string_view>
#include <vector>

#include "mledge/core/secret_random.h"
#include "mledge/privacy/noise/discrete_gaussian.h"
#include "mledge/privacy/noise/randomized_response.h"
#include "mledge/privacy/noise/skellam.h"

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define MLEDGE_HAVE_MEMCHECK 1
#else
#define MLEDGE_HAVE_MEMCHECK 0
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_MAKE_MEM_UNDEFINED(address, size)
#endif

namespace mledge {
namespace {

constexpr int kNoValgrind = 77;

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

int Run(bool leak) {
  if (!MLEDGE_HAVE_MEMCHECK || !RUNNING_ON_VALGRIND) return kNoValgrind;
  UndefinedRandom random;
  std::vector<int32_t> draws(2000);
  // One table, convolutions, and the wider slots of long tables.
  for (const double variance : {0.25, 1000.0, 1e6, 1e7}) {
    DiscreteGaussian::Create(variance)->Fill(random, draws);
  }
  if (leak) {
    if (draws[7] > 100) std::puts("leaked");
    return 0;
  }
  for (const double variance : {1.0, 100.0, 40'000.0}) {
    Skellam::Create(variance)->Fill(random, draws);
  }
  RandomizedResponse::Create(10, 1)->Report(3, random).status().IgnoreError();
  return 0;
}

}  // namespace
}  // namespace mledge

int main(int argc, char** argv) {
  return mledge::Run(argc > 1 && std::string_view(argv[1]) == "--leak");
}
