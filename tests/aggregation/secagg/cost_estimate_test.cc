#include "mledge/aggregation/secagg/cost_estimate.h"

#include <gtest/gtest.h>

namespace mledge::secagg {
namespace {

const Modulus kModulus = *Modulus::Create(32);

// The reference's device: n = 1000, k = 114, a million coordinates of 32 bits.
TEST(CostEstimateTest, DeviceOfAThousand) {
  const SessionCost cost = EstimateCost(
      *FindParameters({.clients = 1000, .losses = LossChoice::kIndependent}),
      kModulus, 1'000'000);
  EXPECT_EQ(cost.device.keystream_bytes, 460'000'000);
  EXPECT_EQ(cost.device.key_agreements, 228);
  EXPECT_EQ(cost.device.masked_input_bytes, 4'000'000);
  // Shares and unmasking go up in about 17 KB.
  EXPECT_NEAR(cost.device.bytes_sent, 4'017'000, 2'000);
  // Keys with certificates and paths, 130 to 140 KB; boxes and signatures 20.
  EXPECT_NEAR(cost.device.bytes_received, 160'000, 20'000);
}

// Keystream = (survivors + alive neighbors of each lost one) · m · 4.
TEST(CostEstimateTest, ServerOfTheFullGraph) {
  const SessionCost cost = EstimateCost(
      *FindParameters({.clients = 1000, .graph = GraphKind::kFull}), kModulus,
      100'000);
  EXPECT_EQ(cost.server.key_agreements, 100 * 900);
  EXPECT_EQ(cost.server.keystream_bytes, (900 + 100 * 900) * 400'000LL);
}

TEST(CostEstimateTest, SixteenBitsTakeHalfTheKeystream) {
  const SecaggParameters parameters = *FindParameters({.clients = 100});
  EXPECT_EQ(2 * EstimateCost(parameters, *Modulus::Create(16), 1000)
                    .device.keystream_bytes,
            EstimateCost(parameters, *Modulus::Create(17), 1000)
                .device.keystream_bytes);
}

}  // namespace
}  // namespace mledge::secagg
