#ifndef MLEDGE_CLI_VERBS_H_
#define MLEDGE_CLI_VERBS_H_

#include <functional>
#include <utility>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

// How a verb joins the workbench: one file per verb defines one Register…
// function, which is declared below and called once by main.cc. It adds its
// subcommand, binds options to a shared struct, and says what runs:
//
//   void RegisterGreet(CLI::App& app, ChosenVerb& chosen) {
//     auto name = std::make_shared<std::string>();
//     CLI::App* greet = app.add_subcommand("greet", "Says hello");
//     greet->add_option("NAME", *name, "Whom to greet")->required();
//     chosen.On(greet, [name] { return Greet(*name); });
//   }
//
// The verb's function runs after the whole command line has been parsed. What
// it returns decides the exit status: OK is 0; an error is printed as
// "mledge: error: <message>" and ends with 1. A command line that cannot be
// parsed ends with 2. Verbs hold no logic: they call a module and print.

namespace mledge {

class ChosenVerb {
 public:
  // `run` is what happens when the command line names `verb`. This object must
  // outlive the parsing.
  void On(CLI::App* verb, std::function<absl::Status()> run) {
    verb->callback([this, run = std::move(run)] { run_ = run; });
  }
  // For verbs whose outcome is more than done or failed: what `run` returns
  // is the exit status. 1 and 2 have their meaning already.
  void OnWithExitStatus(CLI::App* verb,
                        std::function<absl::StatusOr<int>()> run) {
    verb->callback([this, run = std::move(run)] {
      run_ = [this, run]() -> absl::Status {
        absl::StatusOr<int> status = run();
        if (status.ok()) exit_status_ = *status;
        return status.status();
      };
    });
  }
  // Precondition: a command line with a verb has been parsed.
  absl::Status Run() const { return run_(); }
  // After Run has returned OK.
  int exit_status() const { return exit_status_; }

 private:
  std::function<absl::Status()> run_;
  int exit_status_ = 0;
};

void RegisterFleet(CLI::App& app, ChosenVerb& chosen);
void RegisterData(CLI::App& app, ChosenVerb& chosen);
void RegisterModel(CLI::App& app, ChosenVerb& chosen);
// After RegisterModel, whose group it joins.
void RegisterModelPredict(CLI::App& app, ChosenVerb& chosen);
void RegisterPki(CLI::App& app, ChosenVerb& chosen);
// After RegisterPki, whose group it joins: what needs a running registrar.
void RegisterPkiRegistrar(CLI::App& app, ChosenVerb& chosen);
void RegisterPrivacy(CLI::App& app, ChosenVerb& chosen);
// After RegisterPrivacy, whose group it joins: what needs a coordinator.
void RegisterPrivacyLedger(CLI::App& app, ChosenVerb& chosen);
void RegisterSecagg(CLI::App& app, ChosenVerb& chosen);
// Into the group that RegisterSecagg makes.
void RegisterSecaggBench(CLI::App& secagg, ChosenVerb& chosen);
void RegisterTask(CLI::App& app, ChosenVerb& chosen);
void RegisterSimulate(CLI::App& app, ChosenVerb& chosen);
void RegisterVersion(CLI::App& app, ChosenVerb& chosen);

}  // namespace mledge

#endif  // MLEDGE_CLI_VERBS_H_
