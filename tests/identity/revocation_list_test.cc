#include "mledge/identity/revocation_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "mledge/identity/signing.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_pki.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

class RevocationListTest : public ::testing::Test {
 protected:
  Certificate DeviceOf(const TestPki& pki, const std::string& id) const {
    return ParsePemChain(pki.Issue(Role::kDevice, id).certificate_chain_pem)
        ->front();
  }
  Certificate Device(const std::string& id) const { return DeviceOf(pki_, id); }

  v1::RevocationList Content() const {
    v1::RevocationList list;
    list.set_number(7);
    list.set_issued_unix_milliseconds(absl::ToUnixMillis(pki_.now()));
    list.set_fresh_until_unix_milliseconds(
        absl::ToUnixMillis(pki_.now() + absl::Hours(24)));
    list.add_serials(absl::HexStringToBytes(revoked_.serial()));
    list.add_identities("mledge://device/lost");
    return list;
  }
  absl::StatusOr<RevocationList> Parse(const v1::SignedMessage& message,
                                       uint64_t least_number = 0) const {
    return RevocationList::Parse(message, root_, pki_.now(), least_number);
  }
  absl::StatusOr<RevocationList> Parse(const v1::RevocationList& list) const {
    return Parse(RevocationList::Sign(list, pki_.registrar()));
  }

  const TestPki pki_;
  const Certificate root_ = pki_.root().certificate();
  const Certificate revoked_ = Device("one");
};

TEST_F(RevocationListTest, NamesCertificatesAndIdentities) {
  const absl::StatusOr<RevocationList> list = Parse(Content());
  ASSERT_THAT(list, IsOk());
  EXPECT_EQ(list->number(), 7u);
  EXPECT_THAT(list->Check(revoked_), StatusIs(StatusCode::kPermissionDenied,
                                              HasSubstr("was revoked")));
  EXPECT_THAT(list->Check(Device("lost")),
              StatusIs(StatusCode::kPermissionDenied,
                       HasSubstr("all certificates of this identity")));
  EXPECT_THAT(list->Check(Device("two")), IsOk());
  // A new certificate of the same device is another certificate.
  EXPECT_THAT(list->Check(Device("one")), IsOk());
}

TEST_F(RevocationListTest, KnowsNothingOfAnotherRegistrarsCertificates) {
  const TestPki other;
  EXPECT_THAT(Parse(Content())->Check(DeviceOf(other, "two")),
              StatusIs(StatusCode::kPermissionDenied,
                       HasSubstr("nothing is known of it")));
}

TEST_F(RevocationListTest, StopsCounting) {
  const absl::StatusOr<RevocationList> list = Parse(Content());
  ASSERT_THAT(list, IsOk());
  EXPECT_THAT(list->CheckFresh(pki_.now()), IsOk());
  EXPECT_THAT(
      list->CheckFresh(pki_.now() + absl::Hours(24) - absl::Milliseconds(1)),
      IsOk());
  EXPECT_THAT(list->CheckFresh(pki_.now() + absl::Hours(24)),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("counted")));
}

TEST_F(RevocationListTest, OlderListThanWasSeenIsRefused) {
  const v1::SignedMessage message =
      RevocationList::Sign(Content(), pki_.registrar());
  EXPECT_THAT(Parse(message, 7), IsOk());
  EXPECT_THAT(Parse(message, 8), StatusIs(StatusCode::kPermissionDenied,
                                          HasSubstr("older than list 8")));
}

TEST_F(RevocationListTest, ListFromTheFutureIsRefused) {
  v1::RevocationList list = Content();
  list.set_issued_unix_milliseconds(
      absl::ToUnixMillis(pki_.now() + absl::Minutes(6)));
  EXPECT_THAT(Parse(list),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("clocks")));
  list.set_issued_unix_milliseconds(
      absl::ToUnixMillis(pki_.now() + absl::Minutes(4)));
  EXPECT_THAT(Parse(list), IsOk());
}

TEST_F(RevocationListTest, OnlyTheRegistrarOfThisRootSigns) {
  const TestPki other;
  EXPECT_THAT(Parse(RevocationList::Sign(Content(), other.registrar())),
              StatusIs(StatusCode::kPermissionDenied));
  // The coordinator's signature is good, but not a registrar's.
  EXPECT_THAT(
      Parse(pki_.MakeSigner(Role::kCoordinator, "main")
                .Sign(kRevocationListContext, Content().SerializeAsString())),
      StatusIs(StatusCode::kPermissionDenied, HasSubstr("registrar")));
  // Nor does the root sign lists.
  EXPECT_THAT(Parse(RevocationList::Sign(Content(), pki_.root())),
              StatusIs(StatusCode::kPermissionDenied));
}

TEST_F(RevocationListTest, AlteredListIsRefused) {
  v1::SignedMessage message = RevocationList::Sign(Content(), pki_.registrar());
  v1::RevocationList emptied = Content();
  emptied.clear_serials();
  message.set_payload(emptied.SerializeAsString());
  EXPECT_THAT(Parse(message),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("altered")));
}

TEST_F(RevocationListTest, SignatureForAnotherPurposeIsRefused) {
  const v1::SignedMessage message = SignAsRegistrar(
      pki_.registrar(), "something", Content().SerializeAsString());
  EXPECT_THAT(Parse(message), StatusIs(StatusCode::kPermissionDenied,
                                       HasSubstr("worth nothing")));
}

TEST_F(RevocationListTest, ExpiredRegistrarSignsNothing) {
  EXPECT_THAT(
      RevocationList::Parse(RevocationList::Sign(Content(), pki_.registrar()),
                            root_, pki_.now() + absl::Hours(24 * 366), 0),
      StatusIs(StatusCode::kPermissionDenied, HasSubstr("expired")));
}

TEST_F(RevocationListTest, MalformedListsAreRefused) {
  std::vector<v1::RevocationList> bad(9, Content());
  bad[0].set_number(0);
  bad[1].set_fresh_until_unix_milliseconds(bad[1].issued_unix_milliseconds());
  bad[2].set_issued_unix_milliseconds(-1);
  bad[3].set_fresh_until_unix_milliseconds(INT64_MAX);
  bad[4].add_serials(bad[4].serials(0));
  bad[5].add_serials("");
  bad[6].mutable_serials()->Clear();
  bad[6].add_serials(std::string(21, 'x'));
  bad[7].add_identities("device/lost");
  bad[8].add_identities("mledge://nobody/x");
  for (size_t i = 0; i < bad.size(); ++i) {
    EXPECT_THAT(Parse(bad[i]), StatusIs(StatusCode::kInvalidArgument)) << i;
  }
  EXPECT_THAT(Parse(SignAsRegistrar(pki_.registrar(), kRevocationListContext,
                                    "no message")),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(Parse(v1::SignedMessage()),
              StatusIs(StatusCode::kPermissionDenied));
  v1::SignedMessage unsigned_list =
      RevocationList::Sign(Content(), pki_.registrar());
  unsigned_list.clear_signature();
  EXPECT_THAT(Parse(unsigned_list), StatusIs(StatusCode::kInvalidArgument));
  unsigned_list = RevocationList::Sign(Content(), pki_.registrar());
  unsigned_list.clear_certificates();
  EXPECT_THAT(Parse(unsigned_list), StatusIs(StatusCode::kInvalidArgument));
}

TEST_F(RevocationListTest, NewestListAnswersAndFailsClosed) {
  NewestRevocationList newest(root_);
  EXPECT_THAT(newest.Check(Device("two"), pki_.now()),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("no revo")));
  const v1::SignedMessage seven =
      RevocationList::Sign(Content(), pki_.registrar());
  ASSERT_THAT(newest.Update(seven, pki_.now()), IsOk());
  EXPECT_EQ(newest.number(), 7u);
  EXPECT_THAT(newest.Check(Device("two"), pki_.now()), IsOk());
  EXPECT_THAT(newest.Check(revoked_, pki_.now()),
              StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(newest.Check(Device("two"), pki_.now() + absl::Hours(24)),
              StatusIs(StatusCode::kFailedPrecondition));

  v1::RevocationList content = Content();
  content.set_number(8);
  content.clear_serials();
  content.set_fresh_until_unix_milliseconds(
      absl::ToUnixMillis(pki_.now() + absl::Hours(48)));
  ASSERT_THAT(newest.Update(RevocationList::Sign(content, pki_.registrar()),
                            pki_.now()),
              IsOk());
  EXPECT_THAT(newest.Check(revoked_, pki_.now() + absl::Hours(47)), IsOk());
  // An older one and a stale one change nothing.
  EXPECT_THAT(newest.Update(seven, pki_.now()),
              StatusIs(StatusCode::kPermissionDenied));
  content.set_number(9);
  content.set_fresh_until_unix_milliseconds(
      absl::ToUnixMillis(pki_.now() + absl::Hours(1)));
  EXPECT_THAT(newest.Update(RevocationList::Sign(content, pki_.registrar()),
                            pki_.now() + absl::Hours(2)),
              StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_EQ(newest.number(), 8u);
  EXPECT_THAT(newest.Check(revoked_, pki_.now()), IsOk());
}

TEST_F(RevocationListTest, OldListDoesNotComeBackAcrossARestart) {
  NewestRevocationList newest(root_, /*least_number=*/8);
  EXPECT_THAT(newest.Update(RevocationList::Sign(Content(), pki_.registrar()),
                            pki_.now()),
              StatusIs(StatusCode::kPermissionDenied));
}

}  // namespace
}  // namespace mledge
