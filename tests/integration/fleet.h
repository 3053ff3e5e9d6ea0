#ifndef MLEDGE_TESTS_INTEGRATION_FLEET_H_
#define MLEDGE_TESTS_INTEGRATION_FLEET_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mledge/coordinator/grpc/admin_client.h"
#include "mledge/identity/identity.h"
#include "mledge/tests/integration/child_process.h"
#include "mledge/tests/support/temp_directory.h"

// A small fleet of real processes over real mutual TLS: a coordinator, devices
// with a share each of a small data set (four classes, 8×8 images, made here),
// an evaluator with a test set, an operator. Not thread-safe.

namespace mledge {

class Fleet {
 public:
  Fleet();

  // From then on coordinator and devices know a registrar, and tasks have
  // secure aggregation unless they say otherwise. Again on the same port and
  // state.
  bool StartRegistrar();
  // Starts the coordinator, again on the same port when it ran before. False
  // (and the log among gtest's failures) when it does not come up.
  // `environment`: "NAME=value" for it alone.
  bool StartCoordinator(const std::vector<std::string>& environment = {});
  // The same without a wait: it may end before it has come up. Precondition:
  // one has come up before.
  void LaunchCoordinator(const std::vector<std::string>& environment = {});
  // Instead: the test runs one itself, there.
  void UseCoordinator(const std::string& address) { address_ = address; }
  // Lines for the configuration of agents that are started from then on.
  void AddToDevices(const std::string& lines) { device_lines_ += lines; }
  // Of agents that are started from then on, which so soon look for a
  // coordinator that was away.
  void SetCheckInInterval(const std::string& interval) {
    check_in_interval_ = interval;
  }
  void StartDevice(const std::string& id);
  void StartEvaluator();
  // "device-0", "device-1", …, and the evaluator.
  void StartDevices(int count);

  // Makes `name`-images and `name`-labels, IDX files of side×side images, and
  // returns the path without the endings.
  std::string WriteData(const std::string& name, int examples, int seed,
                        int side = 8);
  // A device or evaluator on such data, restricted by an index file unless that
  // is empty.
  void StartAgent(Role role, const std::string& id, const std::string& data,
                  const std::string& index_file = "");

  // Writes and submits a task over all devices; fails the test when it is not
  // accepted. Returns its id.
  std::string Submit(const std::string& name, int devices, int rounds);
  // The same with these lines instead of `cohort` and `secure_aggregation`, and
  // with `settings` ("FIELD=VALUE") instead of what the file says; what the
  // command said goes to `finished` if that is wanted.
  std::string SubmitWith(const std::string& name, const std::string& lines,
                         int rounds, Finished* finished = nullptr,
                         const std::vector<std::string>& settings = {});
  Finished Mledge(std::vector<std::string> arguments, bool connected = true);
  std::unique_ptr<AdminClient> Admin();
  // False after `deadline`.
  bool WaitForVersion(const std::string& task, int64_t version,
                      absl::Duration deadline = absl::Minutes(3));
  // All of a task's events; waits until it has ended.
  std::vector<v1::TaskEvent> EventsToTheEnd(const std::string& task);

  std::string PathOf(const std::string& name) const {
    return directory_.File(name);
  }
  // The folder of a party's certificate; made when first asked for.
  std::string IdentityOf(Role role, const std::string& id);
  std::string WriteCoordinatorConfig(const std::string& listen);

  ChildProcess* coordinator() { return coordinator_.get(); }
  ChildProcess* registrar() { return registrar_.get(); }
  ChildProcess* device(const std::string& id) { return devices_[id].get(); }
  const std::string& address() const { return address_; }
  const std::string& registrar_address() const { return registrar_address_; }

 private:
  TempDirectory directory_;
  bool WaitForAddress(ChildProcess* process, const std::string& name,
                      std::string* address);
  std::string RegistrarLines(bool with_address) const;

  std::unique_ptr<ChildProcess> registrar_;
  std::unique_ptr<ChildProcess> coordinator_;
  std::map<std::string, std::unique_ptr<ChildProcess>> devices_;
  std::string address_ = "127.0.0.1:0";
  std::string registrar_address_ = "127.0.0.1:0";
  std::string device_lines_;
  std::string check_in_interval_ = "1s";
  int runs_ = 0;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_INTEGRATION_FLEET_H_
