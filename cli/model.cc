#include <cstdint>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "mledge/cli/verbs.h"
#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/signing.h"
#include "mledge/identity/tls_identity.h"
#include "mledge/model/package.h"
#include "mledge/model/package_file.h"
#include "mledge/model/torch/built_in_models.h"
#include "mledge/model/torch/torchscript_import.h"

namespace mledge {
namespace {

const std::map<std::string, Loss> kLosses = {
    {"cross_entropy", Loss::kCrossEntropy},
    {"mean_squared_error", Loss::kMeanSquaredError},
    {"binary_cross_entropy", Loss::kBinaryCrossEntropy}};
const std::map<std::string, Metric> kMetrics = {
    {"accuracy", Metric::kAccuracy},
    {"mean_squared_error", Metric::kMeanSquaredError}};
const std::map<std::string, TensorSpec::Kind> kKinds = {
    {"float", TensorSpec::Kind::kFloat}, {"index", TensorSpec::Kind::kIndex}};

template <typename Value>
std::string NameOf(const std::map<std::string, Value>& names, Value value) {
  for (const auto& [name, candidate] : names) {
    if (candidate == value) return name;
  }
  return "?";
}

std::string Describe(const TensorSpec& tensor) {
  return StrCat("[", absl::StrJoin(tensor.shape, ", "), "] ",
                NameOf(kKinds, tensor.kind));
}

struct Destination {
  std::string signer;
  std::string file;
};

absl::Status SignAndWrite(const ModelPackage& package,
                          const Destination& destination) {
  constexpr Role kRoles[] = {Role::kModelSigner};
  MLEDGE_ASSIGN_OR_RETURN(const TlsIdentity identity,
                          LoadTlsIdentity(IdentityFilesIn(destination.signer),
                                          kRoles, absl::Now()));
  MLEDGE_ASSIGN_OR_RETURN(const Signer signer, Signer::Create(identity));
  MLEDGE_ASSIGN_OR_RETURN(const std::string bytes,
                          SerializePackageFile(package, signer));
  MLEDGE_RETURN_IF_ERROR(WriteFileAtomically(destination.file, bytes));
  std::cout << "Wrote " << destination.file << ": " << package.name << ", "
            << package.layout->size() << " parameters, " << bytes.size()
            << " bytes, signed by " << signer.identity() << "\nSHA-256 "
            << Sha256Of(bytes).ToHex() << std::endl;
  return absl::OkStatus();
}

struct CreateArguments {
  BuiltInModelOptions model;
  uint64_t seed = 0;
  Destination destination;
};

absl::Status Create(const CreateArguments& arguments) {
  MLEDGE_ASSIGN_OR_RETURN(const ModelPackage package,
                          CreateBuiltInModel(arguments.model, arguments.seed));
  return SignAndWrite(package, arguments.destination);
}

struct ImportArguments {
  std::string file;
  ImportOptions model;
  Destination destination;
};

absl::Status Import(const ImportArguments& arguments) {
  MLEDGE_ASSIGN_OR_RETURN(const std::string code, ReadFile(arguments.file));
  absl::StatusOr<ImportedModel> imported =
      ImportTorchScript(code, arguments.model);
  if (!imported.ok()) return Annotate(imported.status(), arguments.file);
  for (const std::string& notice : imported->notices) {
    std::cout << "Note: " << notice << "\n";
  }
  return SignAndWrite(imported->package, arguments.destination);
}

void PrintLayout(const ParameterLayout& layout) {
  std::cout << "parameters   " << layout.size() << " ("
            << layout.trainable_size() << " trained by gradient, "
            << layout.shared_size() << " sent by devices)\n";
  for (const ParameterEntry& entry : layout.entries()) {
    std::cout << "  " << std::left << std::setw(32) << entry.name << " "
              << std::setw(9) << ToString(entry.element_type) << std::setw(16)
              << ToString(entry.role) << "[" << absl::StrJoin(entry.shape, ", ")
              << "]";
    if (!entry.alias_of.empty()) std::cout << " = " << entry.alias_of;
    std::cout << "\n";
  }
}

std::string DescribeTrust(const UnverifiedPackageFile& file,
                          const std::string& root_path) {
  if (root_path.empty()) return "not checked; name --root to check";
  const absl::StatusOr<std::string> root = ReadFile(root_path);
  if (!root.ok()) return StrCat("not checked: ", root.status().message());
  const absl::StatusOr<SignatureVerifier> verifier =
      SignatureVerifier::Create(*root, {.context = std::string(kPackageContext),
                                        .role = Role::kModelSigner,
                                        .any_id = true});
  if (!verifier.ok()) {
    return StrCat("not checked: ", root_path, ": ",
                  verifier.status().message());
  }
  const absl::StatusOr<Identity> signer =
      verifier->Verify(file.signed_manifest, absl::Now());
  if (!signer.ok()) return StrCat("NOT TRUSTED: ", signer.status().message());
  return StrCat("valid under ", root_path,
                "; devices run it if their trusted_model_signers name ",
                signer->id);
}

absl::Status Inspect(const std::string& path, const std::string& root_path) {
  MLEDGE_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  const absl::StatusOr<UnverifiedPackageFile> file =
      ParsePackageFileUnverified(bytes);
  if (!file.ok()) return Annotate(file.status(), path);
  const ModelPackage& package = file->package;
  const absl::StatusOr<Identity> signer = ClaimedSigner(file->signed_manifest);
  std::cout << "model        " << package.name << "\n"
            << "SHA-256      " << file->sha256.ToHex() << "\n"
            << "signer       "
            << (signer.ok() ? signer->ToString()
                            : std::string(signer.status().message()))
            << "\n"
            << "signature    " << DescribeTrust(*file, root_path) << "\n"
            << "format       TorchScript, " << package.code.size()
            << " bytes of code"
            << (package.channels_last ? ", may run channels-last" : "") << "\n"
            << "input        " << Describe(package.input) << "\n"
            << "output       " << Describe(package.output) << "\n"
            << "loss         " << NameOf(kLosses, package.loss) << "\n"
            << "metric       " << MetricName(package.metric) << "\n";
  PrintLayout(*package.layout);
  std::cout.flush();
  return absl::OkStatus();
}

void AddDestination(CLI::App* verb, Destination& destination) {
  verb->add_option("--signer", destination.signer,
                   "Folder of a model-signer, from `mledge pki issue`")
      ->required();
  verb->add_option("--out", destination.file, "Package file to write")
      ->required();
}

void RegisterCreate(CLI::App& model, ChosenVerb& chosen) {
  auto arguments = std::make_shared<CreateArguments>();
  CLI::App* create =
      model.add_subcommand("create", "Makes a package of a built-in model");
  std::vector<std::string> names;
  for (const std::string_view name : BuiltInArchitectures()) {
    names.emplace_back(name);
  }
  create
      ->add_option("--architecture", arguments->model.architecture,
                   "Which model")
      ->required()
      ->check(CLI::IsMember(names));
  create->add_option("--inputs", arguments->model.inputs,
                     "Numbers an example (default 784)");
  create->add_option("--outputs", arguments->model.outputs,
                     "Classes, or outputs of a regression (default 10)");
  create
      ->add_option("--hidden", arguments->model.hidden,
                   "mlp: widths of the hidden layers, 64,32")
      ->delimiter(',');
  create->add_flag("--regression", arguments->model.regression,
                   "mlp: mean squared error instead of cross entropy");
  create->add_option("--seed", arguments->seed, "Seed of the initial values")
      ->required();
  AddDestination(create, arguments->destination);
  chosen.On(create, [arguments] { return Create(*arguments); });
}

void RegisterImport(CLI::App& model, ChosenVerb& chosen) {
  auto arguments = std::make_shared<ImportArguments>();
  ImportOptions& options = arguments->model;
  CLI::App* import =
      model.add_subcommand("import", "Makes a package of a TorchScript file");
  import
      ->add_option("FILE", arguments->file,
                   "What torch.jit.script(model).save(FILE) wrote")
      ->required();
  import->add_option("--name", options.name, "Name of the model")->required();
  import
      ->add_option("--input-shape", options.input.shape,
                   "One example's shape, without the batch: 1,28,28")
      ->delimiter(',')
      ->required();
  import
      ->add_option("--input-kind", options.input.kind,
                   "float (default), or index for token numbers")
      ->transform(CLI::CheckedTransformer(kKinds));
  import
      ->add_option("--output-shape", options.output.shape,
                   "Default: found out by running the model")
      ->delimiter(',');
  import
      ->add_option("--loss", options.loss,
                   "cross_entropy, mean_squared_error or binary_cross_entropy")
      ->required()
      ->transform(CLI::CheckedTransformer(kLosses));
  import
      ->add_option("--metric", options.metric, "accuracy or mean_squared_error")
      ->required()
      ->transform(CLI::CheckedTransformer(kMetrics));
  import
      ->add_option("--freeze", options.frozen,
                   "Parameters or modules that stay as they are")
      ->delimiter(',');
  AddDestination(import, arguments->destination);
  chosen.On(import, [arguments] { return Import(*arguments); });
}

}  // namespace

void RegisterModel(CLI::App& app, ChosenVerb& chosen) {
  CLI::App* model =
      app.add_subcommand("model", "Model packages: what is trained");
  model->require_subcommand(1);
  RegisterCreate(*model, chosen);
  RegisterImport(*model, chosen);
  auto path = std::make_shared<std::string>();
  auto root = std::make_shared<std::string>();
  CLI::App* inspect =
      model->add_subcommand("inspect", "Shows what a package holds");
  inspect->add_option("FILE", *path, "Package file")->required();
  inspect->add_option("--root", *root,
                      "Root certificate to check the signature against");
  chosen.On(inspect, [path, root] { return Inspect(*path, *root); });
}

}  // namespace mledge
