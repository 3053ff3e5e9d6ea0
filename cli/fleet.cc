#include <iostream>
#include <memory>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "mledge/cli/operator_connection.h"
#include "mledge/cli/verbs.h"
#include "mledge/core/status_macros.h"

namespace mledge {
namespace {

absl::Status ListFleet(const OperatorConnection& connection) {
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<AdminClient> client,
                          Connect(connection));
  MLEDGE_ASSIGN_OR_RETURN(const v1::ListDevicesResponse devices,
                          client->ListDevices());
  std::cout << absl::StreamFormat("%-24s %-10s %-16s %-20s %8s %8s %8s\n",
                                  "DEVICE", "ROLE", "POPULATION", "LAST SEEN",
                                  "ASSIGNED", "ACKED", "FAILED");
  for (const v1::DeviceSummary& device : devices.devices()) {
    std::cout << absl::StreamFormat(
        "%-24s %-10s %-16s %-20s %8d %8d %8d\n", device.device_id(),
        device.role(), device.population(),
        absl::FormatTime("%Y-%m-%d %H:%M:%S",
                         absl::FromUnixSeconds(device.last_seen().seconds()),
                         absl::LocalTimeZone()),
        device.assignments(), device.acknowledged(), device.failed());
  }
  return absl::OkStatus();
}

}  // namespace

void RegisterFleet(CLI::App& app, ChosenVerb& chosen) {
  CLI::App* fleet = app.add_subcommand("fleet", "Shows the fleet's devices");
  fleet->require_subcommand(1);
  CLI::App* list = fleet->add_subcommand(
      "list", "All devices and evaluators that ever checked in");
  auto connection = std::make_shared<OperatorConnection>();
  AddConnectionOptions(list, connection.get());
  chosen.On(list, [connection] { return ListFleet(*connection); });
}

}  // namespace mledge
