#include "mledge/task/internal/data_source.h"

#include <cmath>
#include <set>

#include "absl/strings/match.h"
#include "mledge/core/strings.h"
#include "mledge/task/task_file.h"

namespace mledge::task_internal {
namespace {

template <typename Names>
void RequireDistinct(const std::string& path, const Names& names,
                     Problems* problems) {
  std::set<std::string> seen;
  for (const std::string& name : names) {
    problems->Require(!name.empty(), path, "holds an empty name; name it");
    problems->Require(seen.insert(name).second, path,
                      StrCat("names \"", name,
                             "\" twice; leave one "
                             "out"));
  }
}

void ValidateIdx(const std::string& path, v1::IdxData* idx,
                 Problems* problems) {
  problems->Require(!idx->images().empty(), path + ".images",
                    "is missing; name the file with the images");
  problems->Require(!idx->labels().empty(), path + ".labels",
                    "is missing; name the file with the labels");
  problems->Require(std::isfinite(idx->mean()), path + ".mean",
                    "is not a finite number");
  if (idx->standard_deviation() == 0) idx->set_standard_deviation(1);
  problems->RequirePositive(path + ".standard_deviation",
                            idx->standard_deviation(), "1");
}

void ValidateCategorical(const std::string& path, const v1::CsvData& csv,
                         Problems* problems) {
  const std::set<std::string> features(csv.features().begin(),
                                       csv.features().end());
  std::set<std::string> seen;
  for (int i = 0; i < csv.categorical_size(); ++i) {
    const v1::CategoricalColumn& column = csv.categorical(i);
    const std::string field = StrCat(path, ".categorical[", i, "]");
    problems->Require(features.contains(column.column()), field + ".column",
                      StrCat("\"", column.column(),
                             "\" is not among the features; name one of "
                             "them"));
    problems->Require(
        seen.insert(column.column()).second, field + ".column",
        StrCat("\"", column.column(), "\" is listed twice; leave one out"));
    problems->Require(column.values_size() > 0, field + ".values",
                      "is missing; list the words that may stand there");
    RequireDistinct(field + ".values", column.values(), problems);
  }
}

void ValidateCsv(const std::string& path, v1::CsvData* csv,
                 Problems* problems) {
  problems->Require(!csv->file().empty(), path + ".file",
                    "is missing; name the CSV file");
  problems->Require(csv->features_size() > 0, path + ".features",
                    "is missing; list the columns that the model takes");
  problems->Require(csv->labels_size() > 0, path + ".labels",
                    "is missing; name the column that is to be predicted");
  RequireDistinct(path + ".features", csv->features(), problems);
  RequireDistinct(path + ".labels", csv->labels(), problems);
  RequireDistinct(path + ".classes", csv->classes(), problems);
  for (const std::string& label : csv->labels()) {
    for (const std::string& feature : csv->features()) {
      problems->Require(label != feature, path + ".labels",
                        StrCat("\"", label,
                               "\" is among the features as well; the "
                               "model would be shown the answer"));
    }
  }
  if (csv->classes_size() > 0) {
    problems->Require(csv->labels_size() == 1, path + ".classes",
                      "classes go with exactly one label column");
    problems->Require(csv->classes_size() >= 2, path + ".classes",
                      "holds one class; list at least two");
  }
  ValidateCategorical(path, *csv, problems);
  const int numeric = csv->features_size() - csv->categorical_size();
  const auto require_size = [&](int size, std::string_view name) {
    problems->Require(size == 0 || size == numeric, StrCat(path, name),
                      StrCat("has ", size,
                             " entries; write one for "
                             "each of the ",
                             numeric, " numeric features, or none"));
  };
  require_size(csv->feature_mean_size(), ".feature_mean");
  require_size(csv->feature_standard_deviation_size(),
               ".feature_standard_deviation");
  for (float deviation : csv->feature_standard_deviation()) {
    problems->RequirePositive(path + ".feature_standard_deviation", deviation,
                              "1");
  }
  if (csv->delimiter().empty()) csv->set_delimiter(",");
  problems->Require(csv->delimiter().size() == 1 &&
                        !absl::StrContains("\"\n\r", csv->delimiter()),
                    path + ".delimiter",
                    "must be one character, neither a quote nor a line end");
}

}  // namespace

void ValidateDataSource(const std::string& path, v1::DataSource* source,
                        Problems* problems) {
  switch (source->source_case()) {
    case v1::DataSource::kIdx:
      ValidateIdx(path + ".idx", source->mutable_idx(), problems);
      return;
    case v1::DataSource::kCsv:
      ValidateCsv(path + ".csv", source->mutable_csv(), problems);
      return;
    case v1::DataSource::SOURCE_NOT_SET:
      problems->Add(path,
                    "is missing; write `idx: {images: ..., labels: "
                    "...}` or `csv: {file: ..., features: [...], labels: "
                    "[...]}`");
  }
}

void ResolveDataSource(std::string_view from, v1::DataSource* source) {
  const auto resolve = [from](std::string* path) {
    *path = ResolvePath(*path, from);
  };
  if (source->has_idx()) {
    resolve(source->mutable_idx()->mutable_images());
    resolve(source->mutable_idx()->mutable_labels());
  }
  if (source->has_csv()) resolve(source->mutable_csv()->mutable_file());
  resolve(source->mutable_index_file());
}

}  // namespace mledge::task_internal
