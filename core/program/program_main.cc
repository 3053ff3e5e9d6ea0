#include "mledge/core/program/program_main.h"

#include <csignal>
#include <exception>
#include <iostream>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "google/protobuf/stubs/logging.h"
#include "mledge/core/version.h"

namespace mledge {
namespace {

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;

// Threads that are started later inherit the mask: signals wait for whoever
// takes them. A peer that has gone is an error of the call, not our end.
sigset_t BlockStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return signals;
}

int Run(int argc, char** argv, const ProgramMain& program) {
  CLI::App app(program.description, program.name);
  std::string config_path;
  std::vector<std::string> overrides;
  app.add_option("CONFIG", config_path, "Configuration file (YAML)")
      ->required();
  app.add_option("--set", overrides, "FIELD=VALUE instead of the file's")
      ->expected(1)
      ->take_all();
  app.set_version_flag("--version", std::string(GetBuildInfo().version));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  const absl::Status status =
      program.run(config_path, overrides, BlockStopSignals());
  if (status.ok()) return 0;
  std::cerr << program.name << ": error: " << status.message() << std::endl;
  return kExitError;
}

}  // namespace

int RunProgram(int argc, char** argv, const ProgramMain& program) {
  // Protobuf would write a line for each malformed string that a peer sends;
  // what is wrong with a message is said once, in our own words.
  google::protobuf::SetLogHandler(nullptr);
  try {
    return Run(argc, argv, program);
  } catch (const std::exception& error) {
    std::cerr << program.name << ": error: " << error.what() << std::endl;
    return kExitError;
  }
}

}  // namespace mledge
