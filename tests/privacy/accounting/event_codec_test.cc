#include "mledge/privacy/accounting/event_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mledge/tests/privacy/accounting/sample_events.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

TEST(EventCodecTest, EveryKindSurvivesTheRoundTrip) {
  ComposedEvent all{.count = 12};
  for (const PrivacyEvent& event : OneOfEachKind()) {
    const auto message = EncodeEvent(event);
    ASSERT_THAT(message, IsOk()) << EventName(event);
    v1::PrivacyEvent read;
    ASSERT_TRUE(read.ParseFromString(message->SerializeAsString()));
    EXPECT_THAT(DecodeEvent(read), IsOkAndHolds(event)) << EventName(event);
    all.events.push_back(event);
    all.events.push_back(Repeated(event, 3));
  }
  const PrivacyEvent nested = {all};
  const auto message = EncodeEvent(nested);
  ASSERT_THAT(message, IsOk());
  EXPECT_THAT(DecodeEvent(*message), IsOkAndHolds(nested));
}

TEST(EventCodecTest, RefusesAKindOfANewerVersion) {
  // Field 15 of the message, as a version with a fifteenth kind would write it.
  v1::PrivacyEvent newer;
  ASSERT_TRUE(newer.ParseFromString(std::string("\x7a\x00", 2)));
  EXPECT_THAT(DecodeEvent(newer),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr("a newer version wrote it")));
  EXPECT_THAT(DecodeEvent(v1::PrivacyEvent()),
              StatusIs(StatusCode::kFailedPrecondition));
}

TEST(EventCodecTest, RefusesANewFieldOfAKnownKind) {
  for (const PrivacyEvent& event : OneOfEachKind()) {
    v1::PrivacyEvent outer = *EncodeEvent(Repeated(event, 2));
    v1::PrivacyEvent* message = outer.mutable_composed()->mutable_events(0);
    // Merging parses known and unknown fields into the kind's own message.
    const google::protobuf::FieldDescriptor* kind =
        message->GetReflection()->GetOneofFieldDescriptor(
            *message, message->GetDescriptor()->FindOneofByName("kind"));
    google::protobuf::Message* inner =
        message->GetReflection()->MutableMessage(message, kind);
    inner->GetReflection()->MutableUnknownFields(inner)->AddVarint(15, 1);
    EXPECT_THAT(DecodeEvent(outer), StatusIs(StatusCode::kFailedPrecondition,
                                             HasSubstr("unknown field in")))
        << EventName(event);
  }
}

TEST(EventCodecTest, RefusesUnknownEnumerators) {
  v1::PrivacyEvent message;
  message.mutable_gaussian()->set_noise_multiplier(1);
  EXPECT_THAT(DecodeEvent(message), StatusIs(StatusCode::kFailedPrecondition,
                                             HasSubstr("origin of noise 0")));
  message.mutable_gaussian()->set_origin(static_cast<v1::NoiseOrigin>(9));
  EXPECT_THAT(DecodeEvent(message), StatusIs(StatusCode::kFailedPrecondition,
                                             HasSubstr("origin of noise 9")));
  message.mutable_zcdp()->set_rho(1);
  EXPECT_THAT(DecodeEvent(message), StatusIs(StatusCode::kFailedPrecondition,
                                             HasSubstr("adjacency")));
  EXPECT_THAT(DecodeObserver(v1::OBSERVER_UNSPECIFIED),
              StatusIs(StatusCode::kFailedPrecondition));
}

TEST(EventCodecTest, RefusesBadValuesBothWays) {
  EXPECT_THAT(EncodeEvent({GaussianEvent{-1}}),
              StatusIs(StatusCode::kInvalidArgument));
  v1::PrivacyEvent message;
  message.mutable_skellam()->set_total_variance(0);
  EXPECT_THAT(DecodeEvent(message), StatusIs(StatusCode::kInvalidArgument,
                                             HasSubstr("total_variance")));
}

TEST(EventCodecTest, RefusesNestingThatWouldExhaustTheStack) {
  v1::PrivacyEvent message = *EncodeEvent({GaussianEvent{1}});
  for (int i = 0; i < 40; ++i) {
    v1::PrivacyEvent outer;
    outer.mutable_composed()->set_count(1);
    *outer.mutable_composed()->add_events() = message;
    message = outer;
  }
  EXPECT_THAT(DecodeEvent(message), StatusIs(StatusCode::kInvalidArgument,
                                             HasSubstr("nested deeper")));
}

TEST(EventCodecTest, NamesSurvive) {
  for (Adjacency adjacency : {Adjacency::kAddOrRemoveOne,
                              Adjacency::kReplaceOne, Adjacency::kZeroOut}) {
    EXPECT_THAT(DecodeAdjacency(EncodeAdjacency(adjacency)),
                IsOkAndHolds(adjacency));
  }
  for (Observer observer :
       {Observer::kModelRecipients, Observer::kCoordinator}) {
    EXPECT_THAT(DecodeObserver(EncodeObserver(observer)),
                IsOkAndHolds(observer));
  }
}

}  // namespace
}  // namespace mledge
