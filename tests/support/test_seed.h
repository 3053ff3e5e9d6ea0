#ifndef MLEDGE_TESTS_SUPPORT_TEST_SEED_H_
#define MLEDGE_TESTS_SUPPORT_TEST_SEED_H_

#include <gtest/gtest.h>

#include <cstdint>

// Seeds of tests that draw: fixed unless MLEDGE_TEST_SEED says otherwise, and
// printed with every failure.
//
//   const uint64_t seed = TestSeed(17);
//   const auto trace = TraceSeed(seed);

namespace mledge {

// `fixed`, or the number in the environment variable MLEDGE_TEST_SEED.
uint64_t TestSeed(uint64_t fixed);

// While it lives, failures say which seed was in use.
::testing::ScopedTrace TraceSeed(uint64_t seed);

}  // namespace mledge

#endif  // MLEDGE_TESTS_SUPPORT_TEST_SEED_H_
