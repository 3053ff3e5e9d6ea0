#include <exception>
#include <iostream>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/status/status.h"
#include "mledge/cli/verbs.h"

namespace {

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;

int Run(int argc, char** argv) {
  CLI::App app(
      "ML Edge: train models on fleets of edge devices without moving their "
      "data",
      "mledge");
  app.require_subcommand(1);
  mledge::ChosenVerb chosen;
  // In the order of the help page.
  mledge::RegisterFleet(app, chosen);
  mledge::RegisterSimulate(app, chosen);
  mledge::RegisterData(app, chosen);
  mledge::RegisterModel(app, chosen);
  mledge::RegisterModelPredict(app, chosen);
  mledge::RegisterPki(app, chosen);
  mledge::RegisterPkiRegistrar(app, chosen);
  mledge::RegisterPrivacy(app, chosen);
  mledge::RegisterPrivacyLedger(app, chosen);
  mledge::RegisterSecagg(app, chosen);
  mledge::RegisterTask(app, chosen);
  mledge::RegisterVersion(app, chosen);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help and --version end with 0.
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  const absl::Status status = chosen.Run();
  if (status.ok()) return chosen.exit_status();
  std::cout.flush();
  std::cerr << "mledge: error: " << status.message() << std::endl;
  return kExitError;
}

}  // namespace

int main(int argc, char** argv) {
  // Exceptions end here: the standard library's (no memory) and CLI11's when a
  // verb is declared wrongly.
  try {
    return Run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "mledge: error: " << error.what() << std::endl;
    return kExitError;
  }
}
