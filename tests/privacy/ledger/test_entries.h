#ifndef MLEDGE_TESTS_PRIVACY_LEDGER_TEST_ENTRIES_H_
#define MLEDGE_TESTS_PRIVACY_LEDGER_TEST_ENTRIES_H_

#include <cstdint>

#include "mledge/core/sha256.h"
#include "mledge/privacy/accounting/event_codec.h"
#include "mledge/privacy/accounting/privacy_event.h"
#include "mledge/v1/privacy.pb.h"

// Entries of a ledger, as tests need them.

namespace mledge {

inline Digest TestLedgerTask() { return Sha256Of("a signed task"); }

inline v1::PrivacyEvent GaussianMessage(double noise_multiplier) {
  return EncodeEvent(PrivacyEvent{GaussianEvent{noise_multiplier}}).value();
}

struct TestSchedule {
  int64_t rounds = 10;
  int64_t participations = 3;
  int64_t separation = 2;
  double noise_multiplier = 1;
  bool correlated = false;
};

inline v1::LedgerEntry ScheduleEntry(const TestSchedule& options = {}) {
  v1::LedgerEntry entry;
  v1::LedgerSchedule& schedule = *entry.mutable_schedule();
  schedule.set_task_sha256(TestLedgerTask().ToBytes());
  schedule.set_mechanism(options.correlated ? "correlated" : "central");
  schedule.set_rounds(options.rounds);
  schedule.set_participations(options.participations);
  schedule.set_separation(options.separation);
  schedule.set_delta(1e-6);
  schedule.set_adjacency(v1::ADJACENCY_ZERO_OUT);
  const PrivacyEvent once{GaussianEvent{options.noise_multiplier}};
  *schedule.mutable_event() =
      EncodeEvent(Repeated(once, options.participations)).value();
  *(options.correlated ? schedule.mutable_once()
                       : schedule.mutable_participation()) =
      EncodeEvent(once).value();
  return entry;
}

inline v1::LedgerEntry ChargeEntry(int64_t step, double noise_multiplier = 1,
                                   bool correlated = false) {
  v1::LedgerEntry entry;
  v1::LedgerCharge& charge = *entry.mutable_charge();
  charge.set_round(step + 1);
  charge.set_step(step);
  charge.set_devices(5);
  *(correlated ? charge.mutable_once() : charge.mutable_participation()) =
      GaussianMessage(noise_multiplier);
  return entry;
}

inline v1::LedgerEntry AdoptionEntry(int64_t sequence, const Digest& head,
                                     int64_t lost_charges) {
  v1::LedgerEntry entry;
  v1::LedgerAdoption& adoption = *entry.mutable_adoption();
  adoption.set_operator_id("olga");
  adoption.set_sequence(sequence);
  adoption.set_head(head.ToBytes());
  adoption.set_lost_charges(lost_charges);
  adoption.set_signed_adoption("signed");
  return entry;
}

}  // namespace mledge

#endif  // MLEDGE_TESTS_PRIVACY_LEDGER_TEST_ENTRIES_H_
