#ifndef MLEDGE_TESTS_AGGREGATION_SECAGG_LYING_SERVER_H_
#define MLEDGE_TESTS_AGGREGATION_SECAGG_LYING_SERVER_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/tests/aggregation/secagg/session_world.h"

// What tests of a server that lies have in common.

namespace mledge::secagg {

// The victim of most lies.
inline constexpr int kVictim = 4;

// Runs a session in which the server changes what the victim is told.
inline void Lie(SessionWorld& world,
                std::function<void(v1::SecaggServerMessage&)> change) {
  world.to_device = [&world, change = std::move(change)](
                        WorldDevice& to, v1::SecaggServerMessage& message) {
    if (&to == &world.device(kVictim)) change(message);
    return true;
  };
  world.Run();
}

// A statement of the registrar's over sets that were changed, as if it signed
// whatever it is asked.
inline void WitnessAnew(const SessionWorld& world,
                        v1::SecaggSetsMessage& sets) {
  SetsStatement statement = *SetsStatement::FromProto(sets.witness());
  statement.sets =
      SetsHash(statement.session, statement.group, sets.alive(), sets.dead());
  statement.Sign(world.registrar());
  *sets.mutable_witness() = statement.ToProto();
}

inline void ExpectLeft(SessionWorld& world, int device,
                       const std::string& why) {
  const WorldDevice& victim = world.device(device);
  ASSERT_TRUE(victim.finished.has_value());
  EXPECT_EQ(victim.finished->outcome, ClientFinished::Outcome::kLeft);
  EXPECT_THAT(std::string(victim.finished->reason.message()),
              ::testing::HasSubstr(why));
  for (const v1::SecaggDeviceMessage& message : victim.sent) {
    EXPECT_FALSE(message.has_unmask()) << "it released shares";
  }
}

}  // namespace mledge::secagg

#endif  // MLEDGE_TESTS_AGGREGATION_SECAGG_LYING_SERVER_H_
