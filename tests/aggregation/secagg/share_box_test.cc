#include "mledge/aggregation/secagg/share_box.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "mledge/tests/aggregation/secagg/test_random.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge::secagg {
namespace {

using ::testing::HasSubstr;

ShareValue ValueOf(uint8_t byte) {
  ShareValue value;
  std::ranges::fill(value.mutable_bytes(RevealSecret()), byte);
  return value;
}

class ShareBoxTest : public ::testing::TestWithParam<CipherSuite> {
 protected:
  ShareBoxTest() {
    std::ranges::fill(key_.mutable_bytes(RevealSecret()), uint8_t{9});
  }
  std::string Seal() {
    return SealShares(GetParam(), key_, address_, {ValueOf(1), ValueOf(2)},
                      random_);
  }
  absl::StatusOr<SharePair> Open(const std::string& box) {
    return OpenShares(GetParam(), key_, address_, box);
  }

  RepeatableRandom random_{4};
  ShareBoxKey key_;
  ShareBoxAddress address_{Sha256Of("session"), 17, 4};
};

TEST_P(ShareBoxTest, OpensWhatWasSealed) {
  const std::string box = Seal();
  EXPECT_EQ(box.size(), kShareBoxSize);
  const auto shares = Open(box);
  ASSERT_THAT(shares, IsOk());
  EXPECT_TRUE(shares->mask_key.EqualsConstantTime(ValueOf(1)));
  EXPECT_TRUE(shares->self_mask.EqualsConstantTime(ValueOf(2)));
}

TEST_P(ShareBoxTest, SealingTwiceTakesAnotherNonce) {
  EXPECT_NE(Seal(), Seal());
}

TEST_P(ShareBoxTest, RefusesAnyChangedByte) {
  const std::string box = Seal();
  for (size_t i = 0; i < box.size(); ++i) {
    std::string changed = box;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_THAT(Open(changed), StatusIs(absl::StatusCode::kUnauthenticated));
  }
}

TEST_P(ShareBoxTest, RefusesAnotherKey) {
  const std::string box = Seal();
  key_.mutable_bytes(RevealSecret())[31] ^= 1;
  EXPECT_THAT(Open(box), StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_P(ShareBoxTest, RefusesAnotherSession) {
  const std::string box = Seal();
  address_.session = Sha256Of("another session");
  EXPECT_THAT(Open(box), StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_P(ShareBoxTest, RefusesAnotherSender) {
  const std::string box = Seal();
  address_.from = 18;
  EXPECT_THAT(Open(box), StatusIs(absl::StatusCode::kUnauthenticated,
                                  HasSubstr("from member 18 to member 4")));
}

TEST_P(ShareBoxTest, RefusesAnotherReceiver) {
  const std::string box = Seal();
  address_.to = 5;
  EXPECT_THAT(Open(box), StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_P(ShareBoxTest, RefusesTheWayBack) {
  const std::string box = Seal();
  std::swap(address_.from, address_.to);
  EXPECT_THAT(Open(box), StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_P(ShareBoxTest, RefusesEveryOtherLength) {
  const std::string box = Seal() + std::string(100, 'x');
  for (size_t size = 0; size < box.size(); ++size) {
    if (size == kShareBoxSize) continue;
    EXPECT_THAT(Open(box.substr(0, size)),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST_P(ShareBoxTest, OtherSuiteDoesNotOpen) {
  const CipherSuite other = GetParam() == CipherSuite::kAes128Ctr
                                ? CipherSuite::kChaCha20
                                : CipherSuite::kAes128Ctr;
  EXPECT_THAT(OpenShares(other, key_, address_, Seal()),
              StatusIs(absl::StatusCode::kUnauthenticated));
}

INSTANTIATE_TEST_SUITE_P(Suites, ShareBoxTest,
                         ::testing::Values(CipherSuite::kAes128Ctr,
                                           CipherSuite::kChaCha20));

}  // namespace
}  // namespace mledge::secagg
