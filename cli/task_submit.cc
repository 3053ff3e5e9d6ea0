#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/cli/operator_connection.h"
#include "mledge/cli/task_verbs.h"
#include "mledge/core/file.h"
#include "mledge/core/sha256.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/signing.h"
#include "mledge/model/package_file.h"
#include "mledge/model/torch/built_in_models.h"
#include "mledge/task/task_file.h"

namespace mledge {
namespace {

struct SubmitOptions {
  OperatorConnection connection;
  std::string task_file;
  std::string package;
  std::string model_signer;
  std::vector<std::string> overrides;
};

absl::StatusOr<std::string> CreatePackage(const v1::Task& task,
                                          const std::string& model_signer) {
  if (model_signer.empty()) {
    return absl::InvalidArgumentError(StrCat(
        "task ", task.name(), " names the built-in model ",
        task.model().built_in().architecture(),
        ", which somebody has to sign: add --model-signer DIR, or --package "
        "FILE with a package made by `mledge model create`"));
  }
  MLEDGE_ASSIGN_OR_RETURN(const Signer signer, LoadModelSigner(model_signer));
  const v1::BuiltInModel& model = task.model().built_in();
  MLEDGE_ASSIGN_OR_RETURN(
      const ModelPackage package,
      CreateBuiltInModel(
          {.architecture = model.architecture(),
           .inputs = model.inputs(),
           .outputs = model.outputs(),
           .hidden = {model.hidden().begin(), model.hidden().end()},
           .regression = model.regression()},
          task.seed()));
  return SerializePackageFile(package, signer);
}

absl::StatusOr<std::string> PackageOf(const v1::Task& task,
                                      const SubmitOptions& options) {
  if (!options.package.empty()) return ReadFile(options.package);
  if (!task.model().package().empty()) return ReadFile(task.model().package());
  return CreatePackage(task, options.model_signer);
}

absl::Status Submit(const SubmitOptions& options) {
  MLEDGE_ASSIGN_OR_RETURN(const TlsIdentity identity,
                          LoadOperator(options.connection));
  MLEDGE_ASSIGN_OR_RETURN(const Signer signer, Signer::Create(identity));
  MLEDGE_ASSIGN_OR_RETURN(v1::Task task,
                          LoadTaskFile(options.task_file, options.overrides));
  MLEDGE_ASSIGN_OR_RETURN(std::string package, PackageOf(task, options));
  const std::string sha256 = Sha256Of(package).ToHex();
  if (!task.model().package_sha256().empty() &&
      task.model().package_sha256() != sha256) {
    return absl::InvalidArgumentError(
        StrCat(options.task_file, ": model.package_sha256 is ",
               task.model().package_sha256(), ", the package has ", sha256));
  }
  task.mutable_model()->set_package_sha256(sha256);
  // Paths of this machine mean nothing elsewhere.
  if (!task.model().package().empty()) {
    const std::string& path = task.model().package();
    task.mutable_model()->set_package(path.substr(path.rfind('/') + 1));
  }
  task.clear_simulation();

  MLEDGE_ASSIGN_OR_RETURN(
      const std::unique_ptr<AdminClient> client,
      AdminClient::Create(
          {.coordinator = options.connection.coordinator,
           .coordinator_name = options.connection.coordinator_name},
          identity));
  MLEDGE_ASSIGN_OR_RETURN(
      const std::string id,
      client->SubmitTask(signer.Sign(kTaskContext, task.SerializeAsString()),
                         package));
  std::cout << "submitted " << id << ", package " << sha256 << " ("
            << package.size() << " bytes)" << std::endl;
  if (task.secure_aggregation().mode() == v1::SecureAggregation::OFF) {
    std::cout << "secure aggregation is off: the coordinator sees each "
                 "device's update in the clear"
              << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace

void RegisterTaskSubmit(CLI::App* task, ChosenVerb& chosen) {
  CLI::App* submit = task->add_subcommand(
      "submit", "Signs a task with the operator's key and starts it");
  auto options = std::make_shared<SubmitOptions>();
  submit->add_option("TASK.yaml", options->task_file, "Task file")->required();
  AddConnectionOptions(submit, &options->connection);
  submit->add_option("--package", options->package,
                     "Model package (default: the one that the task names)");
  submit->add_option("--model-signer", options->model_signer,
                     "Model-signer's folder, to sign a built-in model with");
  submit
      ->add_option("--set", options->overrides,
                   "FIELD=VALUE instead of the task file's")
      ->expected(1)
      ->take_all();
  chosen.On(submit, [options] { return Submit(*options); });
}

}  // namespace mledge
