#include "mledge/coordinator/internal/private_task_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Central noise, 20 rounds of 100 devices, all of which a device may be in.
PrivateTask Resolved(double noise_multiplier, double epsilon_limit = 100) {
  v1::Task task;
  task.set_name("t");
  task.mutable_cohort()->set_size(100);
  task.mutable_cohort()->set_minimum(100);
  task.mutable_stop()->set_rounds(20);
  task.mutable_local_training()->set_clip_norm(1);
  v1::Privacy& privacy = *task.mutable_privacy();
  privacy.set_mechanism(v1::Privacy::CENTRAL);
  privacy.set_noise_multiplier(noise_multiplier);
  privacy.set_epsilon_limit(epsilon_limit);
  privacy.set_delta(1e-7);
  privacy.set_population_size(1'000'000);
  privacy.set_participations(20);
  privacy.set_separation(1);
  const auto layout = ParameterLayout::Create(
      {{.name = "w", .shape = {1000}, .role = ParameterRole::kTrainable}});
  EXPECT_THAT(layout, IsOk());
  const auto resolved =
      ResolvePrivateTask(task, **layout, {.rotated_size = 1024});
  EXPECT_THAT(resolved, IsOk());
  return *resolved;
}

// `charges` rounds with the noise of `task`.
Ledger LedgerOf(const PrivateTask& task, int64_t charges) {
  const Digest hash = Sha256Of("task");
  Ledger ledger(hash);
  const auto plan = ResolvePrivacyPlan(task, hash, ledger);
  EXPECT_THAT(plan, IsOk());
  v1::LedgerEntry schedule;
  *schedule.mutable_schedule() = plan->schedule;
  EXPECT_THAT(ledger.Append(absl::UnixEpoch(), schedule), IsOk());
  for (int64_t step = 0; step < charges; ++step) {
    v1::LedgerEntry entry;
    *entry.mutable_charge() = plan->ChargeAt(step);
    entry.mutable_charge()->set_round(step + 1);
    entry.mutable_charge()->set_devices(100);
    EXPECT_THAT(ledger.Append(absl::UnixEpoch(), entry), IsOk());
  }
  return ledger;
}

double Spent(const PrivateTask& task, const Ledger& ledger) {
  v1::GetPrivacyLedgerResponse response;
  EXPECT_THAT(AddAccounts(task, ledger, &response), IsOk());
  return response.accounts(0).spent().epsilon();
}

TEST(PrivateTaskPlanTest, KnowsTheScheduleThatItMade) {
  const PrivateTask task = Resolved(8);
  const auto same = SpendingUnder(task, LedgerOf(task, 0));
  ASSERT_THAT(same, IsOk());
  EXPECT_TRUE(same->as_scheduled);
  const auto other = SpendingUnder(Resolved(8.1), LedgerOf(task, 0));
  ASSERT_THAT(other, IsOk());
  EXPECT_FALSE(other->as_scheduled);
}

// Another version of the program may make more noise of the same signed task:
// what was spent with less stays spent.
TEST(PrivateTaskPlanTest, WhatWasSpentWithLessNoiseIsNotPricedAnew) {
  // A limit that the whole schedule keeps with the new noise.
  const double limit = Spent(Resolved(8), LedgerOf(Resolved(8), 20)) + 0.01;
  const PrivateTask before = Resolved(4, limit);
  const PrivateTask after = Resolved(8, limit);
  const Ledger ledger = LedgerOf(before, 5);
  const double spent = Spent(before, ledger);
  EXPECT_GE(Spent(after, ledger), spent);

  const auto plan = ResolvePrivacyPlan(after, Sha256Of("task"), ledger);
  ASSERT_THAT(plan, IsOk());
  const auto unspent =
      ResolvePrivacyPlan(after, Sha256Of("task"), Ledger(Sha256Of("task")));
  ASSERT_THAT(unspent, IsOk());
  EXPECT_EQ(unspent->participations_within_budget, 20);
  EXPECT_LT(plan->participations_within_budget, 20);
  EXPECT_THAT(plan->budget_reason, HasSubstr("Renyi"));
}

// Whoever stops because of a result has used what the rest of the schedule
// would have cost.
TEST(PrivateTaskPlanTest, APartOfTheScheduleIsClaimedOnlyIfResultsStopNothing) {
  const PrivateTask task = Resolved(8);
  const auto assumes = [&](int64_t charges) {
    v1::GetPrivacyLedgerResponse response;
    EXPECT_THAT(AddAccounts(task, LedgerOf(task, charges), &response), IsOk());
    std::string all;
    for (const auto& one : response.accounts(0).spent().assumptions()) {
      all += one;
    }
    return all;
  };
  EXPECT_THAT(assumes(5), HasSubstr("not ended because of its results"));
  EXPECT_THAT(assumes(20), Not(HasSubstr("because of its results")));
}

}  // namespace
}  // namespace mledge
