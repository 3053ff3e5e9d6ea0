// What constant_time_test.cc runs for the samplers and the mechanisms that draw
// from them.
//
//   privacy_noise_constant_time_subject          all of them
//   privacy_noise_constant_time_subject --leak   a branch on a draw, to see it
//                                                found

#include <cstdint>
#include <cstdio>
#include <vector>

#include "mledge/privacy/noise/discrete_gaussian.h"
#include "mledge/privacy/noise/randomized_response.h"
#include "mledge/privacy/noise/skellam.h"
#include "mledge/tests/support/undefined_random.h"

namespace mledge {
namespace {

bool DrawAll(UndefinedRandom& random) {
  std::vector<int32_t> draws(2000);
  // One table, convolutions, and the wider slots of long tables.
  for (const double variance : {0.25, 1000.0, 1e6, 1e7}) {
    DiscreteGaussian::Create(variance)->Fill(random, draws);
  }
  for (const double variance : {1.0, 100.0, 40'000.0}) {
    Skellam::Create(variance)->Fill(random, draws);
  }
  return RandomizedResponse::Create(10, 1)->Report(3, random).ok();
}

void Leak(UndefinedRandom& random) {
  std::vector<int32_t> draws(8);
  DiscreteGaussian::Create(1e6)->Fill(random, draws);
  if (draws[7] > 100) std::puts("leaked");
}

}  // namespace
}  // namespace mledge

int main(int argc, char** argv) {
  return mledge::RunConstantTimeSubject(argc, argv, mledge::DrawAll,
                                        mledge::Leak);
}
