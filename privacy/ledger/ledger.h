#ifndef MLEDGE_PRIVACY_LEDGER_LEDGER_H_
#define MLEDGE_PRIVACY_LEDGER_LEDGER_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/core/sha256.h"
#include "mledge/v1/privacy.pb.h"

// A task's ledger: what was spent of its privacy, as typed entries in a chain
// of hashes (privacy.proto). Entries are added at the end, nothing else ever
// happens to them. What they amount to: spending.h. Who keeps them: the
// coordinator, which commits each before anybody learns what it pays for.
//
// What the chain is for: whoever knows a head, a device above all, notices a
// ledger that has lost or changed what led to it. Somebody who can rewrite the
// whole ledger can make a chain that fits; only those who know a head of the
// old one will notice. Values, no I/O, not thread-safe.

namespace mledge {

struct LedgerHead {
  int64_t sequence = 0;
  Digest hash;

  bool operator==(const LedgerHead&) const = default;
};

// The head before the first entry. `task`: SHA-256 of the signed task's
// payload.
LedgerHead EmptyLedgerHead(const Digest& task);
// The head after an entry with that number and SHA-256.
LedgerHead ExtendLedger(const LedgerHead& before, int64_t sequence,
                        const Digest& entry);

// An entry as it is stored.
struct StoredLedgerEntry {
  int64_t sequence = 0;
  std::string entry;  // serialized LedgerEntry
  Digest hash;        // of the head that ends with it

  bool operator==(const StoredLedgerEntry&) const = default;
};

// INVALID_ARGUMENT: fields that no entry can have, named. FAILED_PRECONDITION:
// an entry of a kind, or with a field, that this version does not know.
absl::Status ValidateLedgerEntry(const v1::LedgerEntry& entry);

class Ledger {
 public:
  explicit Ledger(const Digest& task) : task_(task) {}

  // From what was stored, checked entry by entry. `expected`: the head that was
  // stored beside it. DATA_LOSS, naming the entry: changed, missing, out of
  // order, unreadable, or fewer of them than expected. FAILED_PRECONDITION: a
  // newer version wrote an entry.
  static absl::StatusOr<Ledger> Restore(
      const Digest& task, std::span<const StoredLedgerEntry> entries,
      const LedgerHead& expected);

  // Adds an entry; fills in its number and time, and returns it as it is to be
  // stored. INVALID_ARGUMENT: not a valid entry, or not one that may come here:
  // the first entry, and no other, is the schedule.
  absl::StatusOr<StoredLedgerEntry> Append(absl::Time now,
                                           v1::LedgerEntry entry);

  LedgerHead head() const;
  bool empty() const { return entries_.empty(); }
  const std::vector<v1::LedgerEntry>& entries() const { return entries_; }
  // The schedule. Precondition: not empty.
  const v1::LedgerSchedule& schedule() const {
    return entries_.front().schedule();
  }
  bool not_private() const;

  // How a head that somebody else knows stands to this ledger.
  enum class Relation {
    // It led to the head of this one, or an operator adopted what came of it.
    kKnown,
    kAhead,   // this ledger lacks what led to it
    kForked,  // another line of entries led to it
  };
  Relation Compare(const LedgerHead& other) const;

  // What whoever knows a head needs to reach this ledger's head by itself:
  // each entry after that head; where an adoption lies between, each from the
  // adoption on, which extends the head that its operator signed.
  struct Link {
    int64_t sequence = 0;
    Digest entry;  // SHA-256 of the serialized entry

    bool operator==(const Link&) const = default;
  };
  std::vector<Link> LinksAfter(const LedgerHead& known) const;
  // The newest; null: there is none.
  const v1::LedgerAdoption* last_adoption() const;

 private:
  absl::Status CheckPlace(const v1::LedgerEntry& entry) const;
  void Add(v1::LedgerEntry entry, const Digest& digest);

  Digest task_;
  std::vector<v1::LedgerEntry> entries_;
  std::vector<Digest> digests_;      // of the serialized entries
  std::map<int64_t, Digest> heads_;  // by the last entry's number
};

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_LEDGER_LEDGER_H_
