#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iostream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "mledge/cli/verbs.h"
#include "mledge/client/example_sources.h"
#include "mledge/client/torch/torch_trainer.h"
#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/model/package_file.h"

namespace mledge {
namespace {

struct PredictOptions {
  std::string package;
  std::string parameters;
  std::string images;
  std::string labels;
  int64_t first = 0;
  int64_t count = 5;
};

static_assert(std::endian::native == std::endian::little,
              "parameter files are little-endian float32");

absl::StatusOr<ParameterVector> ParametersOf(const ModelPackage& package,
                                             const std::string& path) {
  if (path.empty()) return package.initial_parameters;
  MLEDGE_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  absl::StatusOr<ParameterVector> parameters =
      ParameterVector::FromValues(package.layout, values);
  if (!parameters.ok()) return Annotate(parameters.status(), path);
  return parameters;
}

// The largest output and its share in the softmax.
void PrintPrediction(int64_t position, int64_t label,
                     std::span<const float> logits) {
  const auto best = std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(double{logit} - double{*best});
  const int64_t prediction = best - logits.begin();
  std::cout << absl::StreamFormat("%8d %6d %11d %12.3f  %s\n", position, label,
                                  prediction, 1 / sum,
                                  prediction == label ? "right" : "wrong");
}

absl::Status Predict(const PredictOptions& options) {
  MLEDGE_ASSIGN_OR_RETURN(const std::string file, ReadFile(options.package));
  MLEDGE_ASSIGN_OR_RETURN(const UnverifiedPackageFile unverified,
                          ParsePackageFileUnverified(file));
  const ModelPackage& package = unverified.package;
  if (package.loss != Loss::kCrossEntropy) {
    return absl::InvalidArgumentError(
        StrCat(options.package, " is no classifier over several classes"));
  }
  MLEDGE_ASSIGN_OR_RETURN(const ParameterVector parameters,
                          ParametersOf(package, options.parameters));
  v1::DataSource source;
  source.mutable_idx()->set_images(options.images);
  source.mutable_idx()->set_labels(options.labels);
  source.mutable_idx()->set_standard_deviation(1);
  const int64_t classes = package.output.element_count();
  MLEDGE_ASSIGN_OR_RETURN(const std::shared_ptr<const ExampleStore> examples,
                          OpenExamples(source, "", {.classes = classes}));
  if (options.first < 0 || options.count < 1 ||
      options.first > examples->size() - options.count) {
    return absl::OutOfRangeError(
        StrCat("--first ", options.first, " --count ", options.count, ": ",
               options.images, " holds ", examples->size(), " examples"));
  }
  std::vector<int64_t> positions(static_cast<size_t>(options.count));
  std::iota(positions.begin(), positions.end(), options.first);
  ExampleBatch batch;
  MLEDGE_RETURN_IF_ERROR(examples->Read(positions, &batch));
  MLEDGE_ASSIGN_OR_RETURN(
      const std::unique_ptr<Predictor> predictor,
      CreateTorchTrainerFactory()->CreatePredictor(package));
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<float> outputs,
                          predictor->Predict(parameters, batch));
  std::cout << " example  label  prediction  probability\n";
  for (size_t i = 0; i < positions.size(); ++i) {
    PrintPrediction(positions[i], batch.class_labels[i],
                    std::span(outputs).subspan(i * static_cast<size_t>(classes),
                                               static_cast<size_t>(classes)));
  }
  return absl::OkStatus();
}

}  // namespace

void RegisterModelPredict(CLI::App& app, ChosenVerb& chosen) {
  CLI::App* predict = app.get_subcommand("model")->add_subcommand(
      "predict", "Classifies examples of an IDX file with a model");
  auto options = std::make_shared<PredictOptions>();
  predict->add_option("--package", options->package, "Model package")
      ->required();
  predict->add_option("--parameters", options->parameters,
                      "Little-endian float32 (default: the package's own)");
  predict->add_option("--images", options->images, "IDX file of inputs")
      ->required();
  predict->add_option("--labels", options->labels, "IDX file of labels")
      ->required();
  predict->add_option("--first", options->first, "First example");
  predict->add_option("--count", options->count, "Examples");
  chosen.On(predict, [options] { return Predict(*options); });
}

}  // namespace mledge
