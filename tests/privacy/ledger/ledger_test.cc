#include "mledge/privacy/ledger/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "mledge/tests/privacy/ledger/test_entries.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class LedgerTest : public ::testing::Test {
 protected:
  // A schedule and `charges` of them.
  explicit LedgerTest(int64_t charges = 3) {
    Append(ScheduleEntry());
    for (int64_t step = 0; step < charges; ++step) Append(ChargeEntry(step));
  }
  void Append(v1::LedgerEntry entry) {
    absl::StatusOr<StoredLedgerEntry> stored =
        ledger_.Append(now_ += absl::Seconds(1), std::move(entry));
    ASSERT_THAT(stored, IsOk());
    stored_.push_back(*std::move(stored));
  }
  absl::StatusOr<Ledger> Restore() const {
    return Ledger::Restore(TestLedgerTask(), stored_, ledger_.head());
  }
  LedgerHead HeadAfter(size_t entries) const {
    return {stored_[entries - 1].sequence, stored_[entries - 1].hash};
  }

  absl::Time now_ = absl::FromUnixSeconds(1767225600);
  Ledger ledger_{TestLedgerTask()};
  std::vector<StoredLedgerEntry> stored_;
};

TEST_F(LedgerTest, IsRestoredAsItWas) {
  const absl::StatusOr<Ledger> restored = Restore();
  ASSERT_THAT(restored, IsOk());
  EXPECT_EQ(restored->head(), ledger_.head());
  ASSERT_THAT(restored->entries(), SizeIs(4));
  EXPECT_EQ(restored->entries()[2].charge().step(), 1);
  EXPECT_EQ(restored->schedule().participations(), 3);
}

// Whoever reads the specification in privacy.proto gets these bytes.
TEST_F(LedgerTest, HeadIsTheHashThatTheSpecificationSays) {
  const std::string empty =
      std::string("mledge/v1/empty-ledger") + '\0' + TestLedgerTask().ToBytes();
  EXPECT_EQ(EmptyLedgerHead(TestLedgerTask()).hash, Sha256Of(empty));
  const std::string first =
      std::string("mledge/v1/ledger-entry") + '\0' + Sha256Of(empty).ToBytes() +
      '\x01' + std::string(7, '\0') + Sha256Of(stored_[0].entry).ToBytes();
  EXPECT_EQ(HeadAfter(1).hash, Sha256Of(first));
}

TEST_F(LedgerTest, ChangedByteIsNamedByItsEntry) {
  const std::vector<StoredLedgerEntry> good = stored_;
  for (size_t i = 0; i < good.size(); ++i) {
    for (size_t byte = 0; byte < good[i].entry.size(); ++byte) {
      stored_ = good;
      stored_[i].entry[byte] ^= 1;
      const absl::Status status = Restore().status();
      EXPECT_FALSE(status.ok()) << "entry " << i << ", byte " << byte;
      EXPECT_THAT(std::string(status.message()),
                  HasSubstr("entry " + std::to_string(i + 1)));
    }
  }
}

TEST_F(LedgerTest, ChangedHashIsFound) {
  stored_[1].hash.bytes[5] ^= 1;
  EXPECT_THAT(Restore(), StatusIs(absl::StatusCode::kDataLoss,
                                  HasSubstr("entry 2: it is not what was "
                                            "written")));
}

TEST_F(LedgerTest, TruncatedLedgerIsFound) {
  stored_.pop_back();
  EXPECT_THAT(Restore(),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("it ends with entry 3, and the task's record "
                                 "says 4")));
  stored_.clear();
  EXPECT_THAT(Restore(), StatusIs(absl::StatusCode::kDataLoss,
                                  HasSubstr("restore the newest backup")));
}

TEST_F(LedgerTest, MissingOrSwappedEntryIsFound) {
  const std::vector<StoredLedgerEntry> good = stored_;
  stored_.erase(stored_.begin() + 1);
  EXPECT_THAT(Restore(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("entry 3")));
  stored_ = good;
  std::swap(stored_[1], stored_[2]);
  EXPECT_THAT(Restore(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("entry 3")));
  // Renumbered to fit: the chain tells.
  stored_[1].sequence = 2;
  stored_[2].sequence = 3;
  EXPECT_THAT(Restore(), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(LedgerTest, AnotherTasksLedgerIsRefused) {
  EXPECT_THAT(
      Ledger::Restore(Sha256Of("another task"), stored_, ledger_.head()),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("entry 1")));
}

TEST_F(LedgerTest, EntryOfANewerVersionIsRefusedByName) {
  v1::LedgerEntry entry;
  ASSERT_TRUE(entry.ParseFromString(stored_[1].entry));
  entry.GetReflection()->MutableUnknownFields(&entry)->AddVarint(99, 1);
  stored_[1].entry = entry.SerializeAsString();
  stored_[1].hash =
      ExtendLedger(HeadAfter(1), 2, Sha256Of(stored_[1].entry)).hash;
  EXPECT_THAT(Restore(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                  HasSubstr("entry 2")));
  v1::LedgerEntry unknown_kind;
  unknown_kind.GetReflection()
      ->MutableUnknownFields(&unknown_kind)
      ->AddLengthDelimited(50, "what a newer version spends");
  EXPECT_THAT(ledger_.Append(now_, unknown_kind),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("a newer version wrote it")));
}

TEST_F(LedgerTest, RefusesEntriesOutOfPlaceAndOutOfDomain) {
  EXPECT_THAT(ledger_.Append(now_, ScheduleEntry()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ledger_.Append(now_, v1::LedgerEntry()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  v1::LedgerEntry charge = ChargeEntry(4);
  charge.mutable_charge()->set_devices(0);
  EXPECT_THAT(ledger_.Append(now_, charge),
              StatusIs(absl::StatusCode::kInvalidArgument));
  charge = ChargeEntry(4);
  charge.mutable_charge()->clear_participation();
  EXPECT_FALSE(ledger_.Append(now_, charge).ok());
  Ledger fresh(TestLedgerTask());
  EXPECT_THAT(fresh.Append(now_, ChargeEntry(0)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("begins with the task's schedule")));
  for (const double delta : {0.0, 1.0, -1.0, std::nan("")}) {
    v1::LedgerEntry schedule = ScheduleEntry();
    schedule.mutable_schedule()->set_delta(delta);
    EXPECT_THAT(fresh.Append(now_, schedule),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << delta;
  }
  EXPECT_EQ(ledger_.head(), HeadAfter(4));
}

TEST_F(LedgerTest, ComparesHeads) {
  using Relation = Ledger::Relation;
  for (size_t entries = 1; entries <= 4; ++entries) {
    EXPECT_EQ(ledger_.Compare(HeadAfter(entries)), Relation::kKnown);
  }
  EXPECT_EQ(ledger_.Compare(EmptyLedgerHead(TestLedgerTask())),
            Relation::kKnown);
  LedgerHead other = HeadAfter(3);
  other.hash.bytes[0] ^= 1;
  EXPECT_EQ(ledger_.Compare(other), Relation::kForked);
  other.sequence = 5;
  EXPECT_EQ(ledger_.Compare(other), Relation::kAhead);
}

// Follows links as a device does.
LedgerHead Follow(LedgerHead from, const std::vector<Ledger::Link>& links) {
  for (const Ledger::Link& link : links) {
    from = ExtendLedger(from, link.sequence, link.entry);
  }
  return from;
}

TEST_F(LedgerTest, LinksLeadFromEveryHeadToTheNewest) {
  const LedgerHead empty = EmptyLedgerHead(TestLedgerTask());
  EXPECT_EQ(Follow(empty, ledger_.LinksAfter(empty)), ledger_.head());
  for (size_t entries = 1; entries <= 4; ++entries) {
    const auto links = ledger_.LinksAfter(HeadAfter(entries));
    EXPECT_THAT(links, SizeIs(4 - entries));
    EXPECT_EQ(Follow(HeadAfter(entries), links), ledger_.head());
  }
  EXPECT_THAT(ledger_.LinksAfter({9, Digest()}), IsEmpty());
}

// The copy of yesterday: two charges short of what devices saw.
TEST_F(LedgerTest, AdoptionGoesOnAboveTheHeadThatWasLost) {
  Ledger copy = Ledger::Restore(TestLedgerTask(), std::span(stored_).first(2),
                                HeadAfter(2))
                    .value();
  const LedgerHead lost = ledger_.head();
  EXPECT_EQ(copy.Compare(lost), Ledger::Relation::kAhead);
  const LedgerHead own = copy.head();
  ASSERT_THAT(copy.Append(now_, AdoptionEntry(lost.sequence, lost.hash, 2)),
              IsOk());
  EXPECT_EQ(copy.head().sequence, 5);
  // Whoever knows any head of the lost line is known now.
  EXPECT_EQ(copy.Compare(lost), Ledger::Relation::kKnown);
  EXPECT_EQ(copy.Compare(HeadAfter(3)), Ledger::Relation::kKnown);
  EXPECT_EQ(copy.Compare({6, lost.hash}), Ledger::Relation::kAhead);
  ASSERT_THAT(copy.Append(now_, ChargeEntry(1)), IsOk());
  EXPECT_EQ(Follow(own, copy.LinksAfter(lost)), copy.head());
  EXPECT_EQ(Follow(own, copy.LinksAfter(HeadAfter(1))), copy.head());
  ASSERT_NE(copy.last_adoption(), nullptr);
  EXPECT_EQ(copy.last_adoption()->sequence(), 4);
}

TEST_F(LedgerTest, NotPrivateStaysForEver) {
  EXPECT_FALSE(ledger_.not_private());
  v1::LedgerEntry mark;
  mark.mutable_not_private()->set_reason("seeds from a test");
  Append(mark);
  Append(ChargeEntry(3));
  EXPECT_TRUE(ledger_.not_private());
  EXPECT_TRUE(Restore()->not_private());
}

}  // namespace
}  // namespace mledge
