#include <cstdint>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "mledge/core/strings.h"
#include "mledge/task/internal/nearest_name.h"
#include "mledge/task/internal/task_sections.h"

namespace mledge::task_internal {
namespace {

// Wide enough for any model that fits in memory, small enough that products of
// two widths cannot overflow.
constexpr int64_t kWidest = int64_t{1} << 24;

void RequireWidth(const std::string& field, int64_t value, Problems* problems) {
  problems->Require(value >= 1 && value <= kWidest, field,
                    StrCat("is ", value, "; write 1 to ", kWidest));
}

void ValidateBuiltIn(v1::BuiltInModel* model, Problems* problems) {
  const std::string path = "model.built_in";
  const std::vector<std::string> architectures = {"softmax-regression", "2nn",
                                                  "fedavg-cnn", "mlp"};
  const std::string& architecture = model->architecture();
  if (!problems->Require(
          absl::c_linear_search(architectures, architecture),
          path + ".architecture",
          architecture.empty()
              ? StrCat("is missing; ", SuggestName("", architectures))
              : StrCat("\"", architecture, "\" is unknown; ",
                       SuggestName(architecture, architectures)))) {
    return;
  }
  const bool mlp = architecture == "mlp";
  if (mlp) {
    problems->Require(model->inputs() != 0, path + ".inputs",
                      "is missing; write how many numbers an example has "
                      "(one-hot columns count once for each word)");
  } else {
    problems->Require(
        model->hidden_size() == 0, path + ".hidden",
        StrCat("goes with mlp only; leave it out for ", architecture));
    problems->Require(
        !model->regression(), path + ".regression",
        StrCat("goes with mlp only; leave it out for ", architecture));
    if (model->inputs() == 0) model->set_inputs(784);
    if (architecture == "fedavg-cnn") {
      problems->Require(model->inputs() == 784, path + ".inputs",
                        StrCat("is ", model->inputs(),
                               "; fedavg-cnn takes images of 28 x 28: "
                               "leave it out"));
    }
  }
  if (model->inputs() != 0) {
    RequireWidth(path + ".inputs", model->inputs(), problems);
  }
  if (model->outputs() == 0) model->set_outputs(10);
  RequireWidth(path + ".outputs", model->outputs(), problems);
  problems->Require(model->regression() || model->outputs() >= 2,
                    path + ".outputs",
                    "is 1; a classifier tells at least 2 classes apart (for "
                    "numbers write `regression: true`)");
  for (int64_t width : model->hidden()) {
    RequireWidth(path + ".hidden", width, problems);
  }
  problems->Require(
      model->hidden_size() <= 64, path + ".hidden",
      StrCat("has ", model->hidden_size(), " layers; at most 64 are built"));
}

}  // namespace

void ValidateModel(v1::ModelReference* model, Problems* problems) {
  const bool has_package = !model->package().empty();
  // A task that was submitted names its package by hash alone: paths are of
  // the machine it came from.
  const bool by_hash = !has_package && !model->has_built_in() &&
                       !model->package_sha256().empty();
  if (has_package == model->has_built_in() && !by_hash) {
    problems->Add("model", has_package
                               ? "has both package and built_in; leave one out"
                               : "is missing; write `package: FILE` or "
                                 "`built_in: {architecture: 2nn}`");
  }
  if (model->has_built_in()) {
    ValidateBuiltIn(model->mutable_built_in(), problems);
  }
  const std::string& hash = model->package_sha256();
  problems->Require(
      hash.empty() ||
          (hash.size() == 64 &&
           absl::c_all_of(hash,
                          [](char c) { return absl::ascii_isxdigit(c); })),
      "model.package_sha256",
      "is not 64 hexadecimal digits; copy it from `mledge model inspect`, or "
      "leave it out");
  *model->mutable_package_sha256() = absl::AsciiStrToLower(hash);
}

}  // namespace mledge::task_internal
