#include "mledge/model/package_manifest.h"

#include <bit>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "mledge/core/ids.h"
#include "mledge/core/sha256.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

static_assert(std::endian::native == std::endian::little,
              "initial parameters are copied as they lie in memory");

constexpr size_t kMaximumRank = 8;
constexpr int64_t kMaximumElements = int64_t{1} << 40;

std::string_view AsBytes(std::span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

absl::Status ValidateTensor(std::string_view what, const TensorSpec& spec) {
  if (spec.shape.size() > kMaximumRank) {
    return absl::InvalidArgumentError(StrCat(what, " has ", spec.shape.size(),
                                             " dimensions; at most ",
                                             kMaximumRank, " are supported"));
  }
  int64_t elements = 1;
  for (const int64_t extent : spec.shape) {
    if (extent < 1 || extent > kMaximumElements / elements) {
      return absl::InvalidArgumentError(
          StrCat(what, " has the dimension ", extent,
                 ": every dimension must be at least 1, and one example must "
                 "fit into memory"));
    }
    elements *= extent;
  }
  return absl::OkStatus();
}

absl::Status ValidateObjective(const ModelPackage& package) {
  if (package.output.kind != TensorSpec::Kind::kFloat) {
    return absl::InvalidArgumentError("the output must be of kind float");
  }
  const bool classifies = package.loss != Loss::kMeanSquaredError;
  if (classifies != (package.metric == Metric::kAccuracy)) {
    return absl::InvalidArgumentError(
        StrCat("the metric ", MetricName(package.metric),
               " does not go with the loss: accuracy is for classification, "
               "mean_squared_error for regression"));
  }
  if (package.loss == Loss::kCrossEntropy &&
      (package.output.shape.size() != 1 || package.output.shape[0] < 2)) {
    return absl::InvalidArgumentError(
        "cross entropy needs an output of shape [classes] with at least two "
        "classes");
  }
  if (package.loss == Loss::kBinaryCrossEntropy &&
      package.output.element_count() != 1) {
    return absl::InvalidArgumentError(
        "binary cross entropy needs an output of one element");
  }
  return absl::OkStatus();
}

absl::Status ValidateParameters(const ParameterLayout& layout,
                                std::span<const float> values) {
  const std::optional<size_t> bad = FindNonFinite(values);
  if (!bad.has_value()) return absl::OkStatus();
  const auto position = static_cast<int64_t>(*bad);
  for (const ParameterEntry& entry : layout.entries()) {
    if (position < entry.offset || position >= entry.offset + entry.extent()) {
      continue;
    }
    return absl::InvalidArgumentError(
        StrCat("initial parameters: ", absl::CHexEscape(entry.name), "[",
               position - entry.offset, "] is ", values[*bad],
               "; every value must be finite"));
  }
  return absl::InternalError("a parameter that no layout entry owns");
}

absl::Status CheckBlob(std::string_view what, const v1::Blob& blob,
                       std::string_view bytes) {
  if (blob.size_in_bytes() != bytes.size()) {
    return absl::InvalidArgumentError(StrCat(what, ": ", bytes.size(),
                                             " bytes, where the manifest says ",
                                             blob.size_in_bytes()));
  }
  absl::StatusOr<Digest> expected = Digest::FromBytes(blob.sha256());
  if (!expected.ok()) return Annotate(expected.status(), what);
  const Digest actual = Sha256Of(bytes);
  if (actual != *expected) {
    return absl::InvalidArgumentError(StrCat(
        what, ": SHA-256 is ", actual.ToHex(), ", where the manifest says ",
        expected->ToHex(), ": the file was damaged or altered"));
  }
  return absl::OkStatus();
}

void SetBlob(v1::Blob& blob, std::string_view bytes) {
  blob.set_sha256(Sha256Of(bytes).ToBytes());
  blob.set_size_in_bytes(bytes.size());
}

// The enums of the schema are numbered as those in memory, from `first` on.
template <typename Enum>
absl::StatusOr<Enum> FromWire(std::string_view field, int wire, int first,
                              Enum last) {
  if (wire < first || wire - first > static_cast<int>(last)) {
    return absl::InvalidArgumentError(
        StrCat(field, ": unknown value ", wire,
               "; the package may be from a newer version"));
  }
  return static_cast<Enum>(wire - first);
}
static_assert(static_cast<int>(Loss::kBinaryCrossEntropy) + 1 ==
              v1::PackageManifest::BINARY_CROSS_ENTROPY);
static_assert(static_cast<int>(Loss::kMeanSquaredError) + 1 ==
              v1::PackageManifest::MEAN_SQUARED_ERROR);
static_assert(static_cast<int>(Metric::kMeanSquaredError) + 1 ==
              v1::PackageManifest::METRIC_MEAN_SQUARED_ERROR);
static_assert(static_cast<int>(ModelFormat::kTorchScript) + 1 ==
              v1::PackageManifest::TORCHSCRIPT);
static_assert(static_cast<int>(ElementType::kFloat64) ==
              v1::LayoutEntry::FLOAT64);
static_assert(static_cast<int>(ElementType::kFloat16) ==
              v1::LayoutEntry::FLOAT16);
static_assert(static_cast<int>(ElementType::kInt64) == v1::LayoutEntry::INT64);
static_assert(static_cast<int>(ElementType::kInt32) == v1::LayoutEntry::INT32);
static_assert(static_cast<int>(ElementType::kBool) == v1::LayoutEntry::BOOL);
static_assert(static_cast<int>(ElementType::kUint8) == v1::LayoutEntry::UINT8);
static_assert(static_cast<int>(ParameterRole::kAveragedBuffer) ==
              v1::LayoutEntry::AVERAGED_BUFFER);
static_assert(static_cast<int>(ParameterRole::kLocalBuffer) ==
              v1::LayoutEntry::LOCAL_BUFFER);
static_assert(static_cast<int>(ParameterRole::kFrozen) ==
              v1::LayoutEntry::FROZEN);
static_assert(static_cast<int>(ParameterRole::kPersonal) ==
              v1::LayoutEntry::PERSONAL);

void SetTensor(v1::TensorSpec& out, const TensorSpec& spec) {
  for (const int64_t extent : spec.shape) out.add_shape(extent);
  out.set_kind(static_cast<v1::TensorSpec::Kind>(spec.kind));
}

absl::StatusOr<TensorSpec> ParseTensor(std::string_view what,
                                       const v1::TensorSpec& wire) {
  TensorSpec spec;
  spec.shape.assign(wire.shape().begin(), wire.shape().end());
  MLEDGE_ASSIGN_OR_RETURN(spec.kind,
                          FromWire(StrCat(what, ".kind"), wire.kind(), 0,
                                   TensorSpec::Kind::kIndex));
  return spec;
}

absl::StatusOr<std::shared_ptr<const ParameterLayout>> ParseLayout(
    const v1::PackageManifest& manifest) {
  std::vector<ParameterEntry> entries;
  for (const v1::LayoutEntry& wire : manifest.layout()) {
    ParameterEntry entry;
    entry.name = wire.name();
    entry.shape.assign(wire.shape().begin(), wire.shape().end());
    entry.alias_of = wire.alias_of();
    MLEDGE_ASSIGN_OR_RETURN(entry.element_type,
                            FromWire("layout element type", wire.element_type(),
                                     0, ElementType::kUint8));
    MLEDGE_ASSIGN_OR_RETURN(entry.role, FromWire("layout role", wire.role(), 0,
                                                 ParameterRole::kPersonal));
    entries.push_back(std::move(entry));
  }
  return ParameterLayout::Create(std::move(entries));
}

}  // namespace

absl::Status ValidatePackage(const ModelPackage& package) {
  MLEDGE_RETURN_IF_ERROR(ValidateId("model name", package.name));
  if (package.code.empty()) {
    return absl::InvalidArgumentError("the model has no code");
  }
  if (package.layout == nullptr || package.layout->size() == 0) {
    return absl::InvalidArgumentError("the model has no parameters");
  }
  if (package.initial_parameters.layout() == nullptr ||
      package.initial_parameters.layout()->fingerprint() !=
          package.layout->fingerprint()) {
    return absl::InvalidArgumentError(
        "the initial parameters are not of the model's layout");
  }
  MLEDGE_RETURN_IF_ERROR(ValidateTensor("the input", package.input));
  MLEDGE_RETURN_IF_ERROR(ValidateTensor("the output", package.output));
  MLEDGE_RETURN_IF_ERROR(ValidateObjective(package));
  return ValidateParameters(*package.layout,
                            package.initial_parameters.values());
}

v1::PackageManifest ToManifest(const ModelPackage& package) {
  v1::PackageManifest manifest;
  manifest.set_name(package.name);
  manifest.set_format(v1::PackageManifest::TORCHSCRIPT);
  SetBlob(*manifest.mutable_code(), package.code);
  SetBlob(*manifest.mutable_initial_parameters(),
          AsBytes(package.initial_parameters.values()));
  for (const ParameterEntry& entry : package.layout->entries()) {
    v1::LayoutEntry& wire = *manifest.add_layout();
    wire.set_name(entry.name);
    for (const int64_t extent : entry.shape) wire.add_shape(extent);
    wire.set_element_type(
        static_cast<v1::LayoutEntry::ElementType>(entry.element_type));
    wire.set_role(static_cast<v1::LayoutEntry::Role>(entry.role));
    wire.set_alias_of(entry.alias_of);
  }
  SetTensor(*manifest.mutable_input(), package.input);
  SetTensor(*manifest.mutable_output(), package.output);
  manifest.set_loss(static_cast<v1::PackageManifest::Loss>(
      static_cast<int>(package.loss) + 1));
  manifest.set_metric(static_cast<v1::PackageManifest::Metric>(
      static_cast<int>(package.metric) + 1));
  manifest.set_channels_last(package.channels_last);
  return manifest;
}

absl::StatusOr<ModelPackage> FromManifest(const v1::PackageManifest& manifest,
                                          std::string_view code,
                                          std::string_view initial_parameters) {
  MLEDGE_RETURN_IF_ERROR(CheckBlob("code", manifest.code(), code));
  MLEDGE_RETURN_IF_ERROR(CheckBlob(
      "initial parameters", manifest.initial_parameters(), initial_parameters));
  ModelPackage package;
  package.name = manifest.name();
  MLEDGE_ASSIGN_OR_RETURN(
      package.format,
      FromWire("format", manifest.format(), 1, ModelFormat::kTorchScript));
  MLEDGE_ASSIGN_OR_RETURN(package.loss, FromWire("loss", manifest.loss(), 1,
                                                 Loss::kBinaryCrossEntropy));
  MLEDGE_ASSIGN_OR_RETURN(
      package.metric,
      FromWire("metric", manifest.metric(), 1, Metric::kMeanSquaredError));
  MLEDGE_ASSIGN_OR_RETURN(package.input,
                          ParseTensor("input", manifest.input()));
  MLEDGE_ASSIGN_OR_RETURN(package.output,
                          ParseTensor("output", manifest.output()));
  package.channels_last = manifest.channels_last();
  MLEDGE_ASSIGN_OR_RETURN(package.layout, ParseLayout(manifest));
  // Before anything of the layout's size is allocated.
  const auto floats = static_cast<uint64_t>(package.layout->size());
  if (initial_parameters.size() % sizeof(float) != 0 ||
      initial_parameters.size() / sizeof(float) != floats) {
    return absl::InvalidArgumentError(StrCat(
        "initial parameters: ", initial_parameters.size(),
        " bytes, where the layout has ", floats, " values of four bytes"));
  }
  package.code.assign(code);
  package.initial_parameters = ParameterVector(package.layout);
  std::memcpy(package.initial_parameters.values().data(),
              initial_parameters.data(), initial_parameters.size());
  MLEDGE_RETURN_IF_ERROR(ValidatePackage(package));
  return package;
}

}  // namespace mledge
