#include <cmath>
#include <iostream>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "mledge/cli/operator_connection.h"
#include "mledge/cli/privacy_verbs.h"
#include "mledge/cli/verbs.h"
#include "mledge/core/sha256.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/signing.h"
#include "mledge/privacy/accounting/event_codec.h"
#include "nlohmann/json.hpp"

// What a private task has spent, as its coordinator keeps it, and taking up one
// whose ledger went back.

namespace mledge {
namespace {

struct LedgerOptions {
  OperatorConnection connection;
  std::string task;
  bool json = false;
  bool entries = false;
};

std::string Time(int64_t unix_milliseconds) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S",
                          absl::FromUnixMillis(unix_milliseconds),
                          absl::LocalTimeZone());
}

std::string Epsilon(double epsilon) {
  return std::isfinite(epsilon) ? absl::StrFormat("%.4g", epsilon)
                                : std::string("infinite");
}

std::string HashOf(const std::string& bytes) {
  const absl::StatusOr<Digest> digest = Digest::FromBytes(bytes);
  return digest.ok() ? digest->ToHex() : "?";
}

std::string AdjacencyOf(const v1::PrivacyClaim& claim) {
  const absl::StatusOr<Adjacency> adjacency =
      DecodeAdjacency(claim.adjacency());
  return adjacency.ok() ? std::string(AdjacencyName(*adjacency)) : "?";
}

std::string Describe(const v1::LedgerEntry& entry) {
  switch (entry.kind_case()) {
    case v1::LedgerEntry::kSchedule: {
      const v1::LedgerSchedule& schedule = entry.schedule();
      return absl::StrFormat(
          "schedule   %s noise, %d rounds, a device in %d of them at most, %d "
          "apart",
          schedule.mechanism(), schedule.rounds(), schedule.participations(),
          schedule.separation());
    }
    case v1::LedgerEntry::kCharge: {
      const v1::LedgerCharge& charge = entry.charge();
      std::string text =
          absl::StrFormat("charge     round %d (step %d), %d devices",
                          charge.round(), charge.step(), charge.devices());
      if (charge.secure_session() > 0) {
        text += absl::StrFormat(", session %d, group %d",
                                charge.secure_session(), charge.group());
      }
      return text;
    }
    case v1::LedgerEntry::kAdoption:
      return absl::StrFormat(
          "adoption   by %s, of entry %d, which is not here; %d charges may be "
          "lost",
          entry.adoption().operator_id(), entry.adoption().sequence(),
          entry.adoption().lost_charges());
    case v1::LedgerEntry::kNotPrivate:
      return StrCat("not private: ", entry.not_private().reason());
    default:
      return "of a kind that this version does not know";
  }
}

// JSON has no infinity: null.
nlohmann::ordered_json Number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value)
                              : nlohmann::ordered_json(nullptr);
}

nlohmann::ordered_json ToJson(const v1::GetPrivacyLedgerResponse& ledger) {
  nlohmann::ordered_json accounts = nlohmann::ordered_json::array();
  for (const auto& account : ledger.accounts()) {
    const v1::PrivacyClaim& spent = account.spent();
    nlohmann::ordered_json json = {
        {"epsilon", Number(spent.epsilon())},
        {"delta", spent.delta()},
        // Standard deviation of the noise over the clip norm.
        {"noise_multiplier", ledger.noise_multiplier()},
        {"accountant", spent.accountant()},
        {"observer", ObserverText(spent)},
        {"adjacency", AdjacencyOf(spent)},
        {"unit", spent.unit()},
        {"assumptions", std::vector<std::string>(spent.assumptions().begin(),
                                                 spent.assumptions().end())},
        {"epsilon_of_the_schedule", Number(account.schedule().epsilon())}};
    if (account.has_left()) json["epsilon_left"] = account.left();
    accounts.push_back(std::move(json));
  }
  nlohmann::ordered_json json = {
      {"mechanism", ledger.mechanism()},
      {"participations", ledger.participations()},
      {"participations_allowed", ledger.participations_allowed()},
      {"entries", ledger.entries_size()},
      {"head",
       {{"sequence", ledger.head().sequence()},
        {"hash", HashOf(ledger.head().hash())}}},
      {"accounts", std::move(accounts)}};
  if (ledger.lost_head().sequence() > 0) {
    json["lost_head"] = {{"sequence", ledger.lost_head().sequence()},
                         {"hash", HashOf(ledger.lost_head().hash())}};
  }
  return json;
}

void Print(const v1::GetPrivacyLedgerResponse& ledger, bool entries) {
  std::cout << absl::StreamFormat(
      "%s noise, noise multiplier %.4g (standard deviation over clip norm)\n"
      "%d entries; a device can have been in %d sums, and may be in %d\n",
      ledger.mechanism(), ledger.noise_multiplier(), ledger.entries_size(),
      ledger.participations(), ledger.participations_allowed());
  for (const auto& account : ledger.accounts()) {
    const v1::PrivacyClaim& spent = account.spent();
    std::cout << absl::StreamFormat(
        "\nAgainst %s: epsilon %s spent, %s when the schedule is done",
        ObserverText(spent), Epsilon(spent.epsilon()),
        Epsilon(account.schedule().epsilon()));
    if (account.has_left()) {
      std::cout << absl::StreamFormat(", %s left", Epsilon(account.left()));
    }
    std::cout << absl::StreamFormat(
        "\n  delta %g, unit %s, adjacency %s, accountant %s\n", spent.delta(),
        spent.unit(), AdjacencyOf(spent), spent.accountant());
    for (const std::string& assumption : spent.assumptions()) {
      std::cout << "  assumes: " << assumption << "\n";
    }
  }
  if (ledger.lost_head().sequence() > 0) {
    std::cout << absl::StreamFormat(
        "\nThe task rests: devices know entry %d (%s), which is not here: this "
        "coordinator runs on an older copy of its state directory. Restore the "
        "newest one; where there is none, `mledge privacy adopt` counts what "
        "was lost as spent.\n",
        ledger.lost_head().sequence(), HashOf(ledger.lost_head().hash()));
  }
  if (!entries) return;
  std::cout << "\n";
  for (const v1::LedgerEntry& entry : ledger.entries()) {
    std::cout << absl::StreamFormat("%6d  %s  %s\n", entry.sequence(),
                                    Time(entry.time_unix_milliseconds()),
                                    Describe(entry));
  }
}

absl::Status Show(const LedgerOptions& options) {
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<AdminClient> client,
                          Connect(options.connection));
  MLEDGE_ASSIGN_OR_RETURN(const v1::GetPrivacyLedgerResponse ledger,
                          client->GetPrivacyLedger(options.task));
  if (options.json) {
    std::cout << ToJson(ledger).dump(2) << std::endl;
  } else {
    Print(ledger, options.entries);
  }
  return absl::OkStatus();
}

absl::Status Adopt(const LedgerOptions& options) {
  MLEDGE_ASSIGN_OR_RETURN(const TlsIdentity identity,
                          LoadOperator(options.connection));
  MLEDGE_ASSIGN_OR_RETURN(const Signer signer, Signer::Create(identity));
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<AdminClient> client,
                          Connect(options.connection));
  MLEDGE_ASSIGN_OR_RETURN(const v1::GetPrivacyLedgerResponse ledger,
                          client->GetPrivacyLedger(options.task));
  if (ledger.lost_head().sequence() == 0) {
    return absl::FailedPreconditionError(
        StrCat("the ledger of task ", options.task,
               " lacks nothing that devices know; there is nothing to adopt"));
  }
  v1::LedgerAdoptionStatement statement;
  statement.set_task_sha256(ledger.head().task_sha256());
  statement.set_own_sequence(ledger.head().sequence());
  statement.set_own_hash(ledger.head().hash());
  statement.set_lost_sequence(ledger.lost_head().sequence());
  statement.set_lost_hash(ledger.lost_head().hash());
  MLEDGE_RETURN_IF_ERROR(client->AdoptPrivacyLedger(
      signer.Sign(kLedgerAdoptionContext, statement.SerializeAsString())));
  std::cout << absl::StreamFormat(
      "%s goes on; everything up to entry %d counts as spent\n", options.task,
      ledger.lost_head().sequence());
  return absl::OkStatus();
}

}  // namespace

std::string ObserverText(const v1::PrivacyClaim& claim) {
  const absl::StatusOr<Observer> observer = DecodeObserver(claim.observer());
  return observer.ok() ? std::string(ObserverName(*observer)) : "?";
}

void RegisterPrivacyLedger(CLI::App& app, ChosenVerb& chosen) {
  CLI::App* privacy = app.get_subcommand("privacy");
  CLI::App* show = privacy->add_subcommand(
      "ledger", "What a private task has spent, of what, and what is left");
  auto show_options = std::make_shared<LedgerOptions>();
  show->add_option("TASK", show_options->task, "Task")->required();
  show->add_flag("--json", show_options->json, "For machines");
  show->add_flag("--entries", show_options->entries, "Also every entry");
  AddConnectionOptions(show, &show_options->connection);
  chosen.On(show, [show_options] { return Show(*show_options); });

  CLI::App* adopt = privacy->add_subcommand(
      "adopt",
      "Takes up a private task whose coordinator was restored from an older "
      "copy: what was lost counts as spent");
  auto adopt_options = std::make_shared<LedgerOptions>();
  adopt->add_option("TASK", adopt_options->task, "Task")->required();
  AddConnectionOptions(adopt, &adopt_options->connection);
  chosen.On(adopt, [adopt_options] { return Adopt(*adopt_options); });
}

}  // namespace mledge
