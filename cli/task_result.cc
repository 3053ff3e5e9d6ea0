#include <bit>
#include <cstring>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "mledge/cli/operator_connection.h"
#include "mledge/cli/task_verbs.h"
#include "mledge/core/file.h"
#include "mledge/core/sha256.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/signing.h"
#include "mledge/model/package_file.h"

namespace mledge {
namespace {

struct ResultOptions {
  OperatorConnection connection;
  std::string task;
  std::string out;
  std::string model_signer;
  std::optional<int64_t> version;
};

static_assert(std::endian::native == std::endian::little,
              "parameters travel as little-endian float32");

// The package with the trained parameters as its initial ones, signed anew:
// only a model-signer may say what a package holds.
absl::Status WriteSignedPackage(const AdminClient::Model& model,
                                const ModelPackage& package,
                                const ResultOptions& options) {
  MLEDGE_ASSIGN_OR_RETURN(const Signer signer,
                          LoadModelSigner(options.model_signer));
  ModelPackage trained = package;
  std::vector<float> values(model.parameters.size() / sizeof(float));
  std::memcpy(values.data(), model.parameters.data(),
              values.size() * sizeof(float));
  MLEDGE_ASSIGN_OR_RETURN(trained.initial_parameters,
                          ParameterVector::FromValues(package.layout, values));
  MLEDGE_ASSIGN_OR_RETURN(const std::string file,
                          SerializePackageFile(trained, signer));
  MLEDGE_RETURN_IF_ERROR(WriteFileAtomically(options.out, file));
  std::cout << "wrote " << options.out << ": package with version "
            << model.version.version() << " of " << options.task
            << ", signed by " << signer.identity().ToString() << std::endl;
  return absl::OkStatus();
}

absl::Status Result(const ResultOptions& options) {
  MLEDGE_ASSIGN_OR_RETURN(const TlsIdentity identity,
                          LoadOperator(options.connection));
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<AdminClient> client,
                          Connect(options.connection));
  MLEDGE_ASSIGN_OR_RETURN(const AdminClient::Model model,
                          client->FetchModel(options.task, options.version));
  MLEDGE_ASSIGN_OR_RETURN(
      const SignatureVerifier verifier,
      SignatureVerifier::Create(identity.root_pem,
                                {.context = std::string(kPackageContext),
                                 .role = Role::kModelSigner,
                                 .any_id = true}));
  MLEDGE_ASSIGN_OR_RETURN(
      const PackageFile package,
      ParsePackageFile(model.package_file, verifier, absl::Now()));
  if (!options.model_signer.empty()) {
    return WriteSignedPackage(model, package.package, options);
  }
  const std::string parameters_path = StrCat(options.out, ".f32");
  MLEDGE_RETURN_IF_ERROR(
      WriteFileAtomically(parameters_path, model.parameters));
  MLEDGE_RETURN_IF_ERROR(WriteFileAtomically(options.out, model.package_file));
  std::cout << "wrote " << options.out << ": the package as it was submitted\n"
            << "wrote " << parameters_path << ": parameters of version "
            << model.version.version() << ", SHA-256 "
            << Sha256Of(model.parameters).ToHex() << std::endl;
  return absl::OkStatus();
}

}  // namespace

void RegisterTaskResult(CLI::App* task, ChosenVerb& chosen) {
  CLI::App* result = task->add_subcommand(
      "result",
      "Fetches a task's model: the package as submitted and, beside it, the "
      "trained parameters (FILE.f32); with --model-signer one package that "
      "holds them");
  auto options = std::make_shared<ResultOptions>();
  result->add_option("TASK", options->task, "Task")->required();
  AddConnectionOptions(result, &options->connection);
  result->add_option("--out", options->out, "File to write")->required();
  result->add_option("--version", options->version,
                     "Version of the model (default: the newest)");
  result->add_option("--model-signer", options->model_signer,
                     "Model-signer's folder, to sign a package of the trained "
                     "parameters with");
  chosen.On(result, [options] { return Result(*options); });
}

}  // namespace mledge
