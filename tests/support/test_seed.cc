#include "mledge/tests/support/test_seed.h"

#include <cstdlib>

#include "absl/strings/numbers.h"
#include "mledge/core/logging.h"
#include "mledge/core/strings.h"

namespace mledge {

uint64_t TestSeed(uint64_t fixed) {
  const char* const named = std::getenv("MLEDGE_TEST_SEED");
  if (named == nullptr) return fixed;
  uint64_t seed = 0;
  CHECK(absl::SimpleAtoi(named, &seed))
      << "MLEDGE_TEST_SEED=" << named << " is not a number";
  return seed;
}

::testing::ScopedTrace TraceSeed(uint64_t seed) {
  return ::testing::ScopedTrace(
      "seed", 0, StrCat("MLEDGE_TEST_SEED=", seed, " repeats this run"));
}

}  // namespace mledge
