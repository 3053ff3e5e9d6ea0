#include "mledge/client/csv_source.h"

#include <charconv>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "mledge/client/compressed_file.h"
#include "mledge/client/internal/csv_reader.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

using client_internal::At;
using client_internal::CsvReader;
using client_internal::SuggestColumn;

std::string_view TrimSpaces(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 40;
  return StrCat("\"", text.substr(0, kShown), text.size() > kShown ? "..." : "",
                "\"");
}

absl::StatusOr<char> DelimiterOf(std::string_view name,
                                 std::string_view delimiter) {
  if (delimiter.empty()) return ',';
  if (delimiter.size() == 1 &&
      std::string_view("\"\r\n").find(delimiter[0]) == std::string_view::npos) {
    return delimiter[0];
  }
  return absl::InvalidArgumentError(
      StrCat(name,
             ": the delimiter must be one character, such as ',' or ';', "
             "and no quote or line break; it is ",
             Quoted(delimiter)));
}

// The header and the rows under it, each with as many fields as the header.
class Table {
 public:
  Table(std::string_view name, std::string_view text, char delimiter)
      : name_(name), reader_(name, text, delimiter) {}

  absl::Status ReadHeader() {
    MLEDGE_ASSIGN_OR_RETURN(const bool any, reader_.Next(&fields_));
    if (!any) {
      return absl::InvalidArgumentError(
          StrCat(name_,
                 ": the file is empty; its first line must name the "
                 "columns"));
    }
    for (const CsvReader::Field& field : fields_) {
      columns_.emplace_back(TrimSpaces(field.text));
      const auto [other, fresh] =
          index_.try_emplace(columns_.back(), columns_.size() - 1);
      if (!fresh) {
        return absl::InvalidArgumentError(
            StrCat(At(name_, field), "column ", Quoted(columns_.back()),
                   " is there twice (columns ", other->second + 1, " and ",
                   columns_.size(), "); rename one"));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<size_t> Find(std::string_view column) const {
    const auto found = index_.find(std::string(column));
    if (found != index_.end()) return found->second;
    return absl::InvalidArgumentError(StrCat(name_, ":1: there is no column ",
                                             Quoted(column), "; ",
                                             SuggestColumn(column, columns_)));
  }

  absl::StatusOr<bool> NextRow() {
    MLEDGE_ASSIGN_OR_RETURN(const bool any, reader_.Next(&fields_));
    if (any && fields_.size() != columns_.size()) {
      return absl::InvalidArgumentError(
          StrCat(name_, ":", fields_.front().line, ": ", fields_.size(),
                 fields_.size() == 1 ? " field" : " fields",
                 ", but the header names ", columns_.size(),
                 " columns; a delimiter inside a text needs quotes around the "
                 "text"));
    }
    return any;
  }

  const CsvReader::Field& field(size_t column) const { return fields_[column]; }
  const std::string& column_name(size_t column) const {
    return columns_[column];
  }
  std::string_view name() const { return name_; }

 private:
  std::string_view name_;
  CsvReader reader_;
  std::vector<CsvReader::Field> fields_;
  std::vector<std::string> columns_;
  absl::flat_hash_map<std::string, size_t> index_;
};

absl::StatusOr<float> NumberIn(const Table& table, size_t column) {
  const CsvReader::Field& field = table.field(column);
  const std::string_view text = TrimSpaces(field.text);
  const std::string where = StrCat(At(table.name(), field), "column ",
                                   Quoted(table.column_name(column)), ": ");
  if (text.empty()) {
    return absl::InvalidArgumentError(
        StrCat(where,
               "empty; a number was expected (leave the row out, or "
               "put in a value)"));
  }
  double value = 0;
  const auto [rest, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::invalid_argument ||
      rest != text.data() + text.size()) {
    return absl::InvalidArgumentError(
        StrCat(where, Quoted(text),
               " is not a number; write digits with '.' for the fraction, or "
               "list the column under `categorical`"));
  }
  const float narrow = static_cast<float>(value);
  if (error == std::errc::result_out_of_range || !std::isfinite(narrow)) {
    return absl::InvalidArgumentError(
        StrCat(where, Quoted(text), std::isnan(value) ? " (NaN)" : "",
               " is no finite number of single precision; leave the row out, "
               "or put in a value"));
  }
  return narrow;
}

// Position of the field's text among the words listed.
absl::StatusOr<int64_t> WordIn(
    const Table& table, size_t column, std::string_view list,
    const absl::flat_hash_map<std::string, int64_t>& words) {
  const CsvReader::Field& field = table.field(column);
  const auto found = words.find(field.text);
  if (found != words.end()) return found->second;
  std::vector<std::string> known(words.size());
  for (const auto& [word, position] : words) known[position] = word;
  std::string all;
  for (size_t i = 0; i < std::min<size_t>(known.size(), 20); ++i) {
    StrAppend(&all, i == 0 ? "" : ", ", known[i]);
  }
  return absl::InvalidArgumentError(StrCat(
      At(table.name(), field), "column ", Quoted(table.column_name(column)),
      ": ", Quoted(field.text), " is not among the ", list, " (", all,
      known.size() > 20 ? ", ..." : "",
      "); add it there, or mend the "
      "file"));
}

absl::StatusOr<absl::flat_hash_map<std::string, int64_t>> WordMap(
    std::string_view name, std::string_view list,
    const google::protobuf::RepeatedPtrField<std::string>& words) {
  absl::flat_hash_map<std::string, int64_t> map;
  for (const std::string& word : words) {
    if (!map.try_emplace(word, static_cast<int64_t>(map.size())).second) {
      return absl::InvalidArgumentError(
          StrCat(name, ": ", list, " name ", Quoted(word), " twice"));
    }
  }
  return map;
}

struct Feature {
  size_t column = 0;
  float mean = 0;
  float standard_deviation = 1;
  // Categorical: one input per word.
  std::optional<absl::flat_hash_map<std::string, int64_t>> words;
};

absl::StatusOr<std::vector<Feature>> FeaturesOf(const Table& table,
                                                const v1::CsvData& source) {
  const std::string_view name = table.name();
  if (source.features().empty()) {
    return absl::InvalidArgumentError(
        StrCat(name,
               ": no features are named; list the input columns under "
               "`features`"));
  }
  absl::flat_hash_map<std::string, const v1::CategoricalColumn*> categorical;
  for (const v1::CategoricalColumn& column : source.categorical()) {
    if (column.values().empty() ||
        !categorical.try_emplace(column.column(), &column).second) {
      return absl::InvalidArgumentError(
          StrCat(name, ": categorical column ", Quoted(column.column()),
                 " is listed twice or without values"));
    }
  }
  std::vector<Feature> features;
  std::set<size_t> used;
  int numeric = 0;
  for (const std::string& column : source.features()) {
    Feature feature;
    MLEDGE_ASSIGN_OR_RETURN(feature.column, table.Find(column));
    if (!used.insert(feature.column).second) {
      return absl::InvalidArgumentError(
          StrCat(name, ": `features` name ", Quoted(column), " twice"));
    }
    const auto words = categorical.find(column);
    if (words != categorical.end()) {
      MLEDGE_ASSIGN_OR_RETURN(
          feature.words, WordMap(name, StrCat("the values of ", Quoted(column)),
                                 words->second->values()));
      categorical.erase(words);
    } else {
      if (numeric < source.feature_mean_size()) {
        feature.mean = source.feature_mean(numeric);
      }
      if (numeric < source.feature_standard_deviation_size()) {
        feature.standard_deviation = source.feature_standard_deviation(numeric);
      }
      if (!std::isfinite(feature.mean) ||
          !(std::isfinite(feature.standard_deviation) &&
            feature.standard_deviation > 0)) {
        return absl::InvalidArgumentError(
            StrCat(name, ": feature ", Quoted(column),
                   " cannot be scaled by "
                   "mean ",
                   feature.mean, " and standard deviation ",
                   feature.standard_deviation));
      }
      ++numeric;
    }
    features.push_back(std::move(feature));
  }
  if (!categorical.empty()) {
    return absl::InvalidArgumentError(StrCat(
        name, ": categorical column ", Quoted(categorical.begin()->first),
        " is not among the `features`; add it there, or remove it"));
  }
  for (const int given :
       {source.feature_mean_size(), source.feature_standard_deviation_size()}) {
    if (given != 0 && given != numeric) {
      return absl::InvalidArgumentError(
          StrCat(name, ": ", given, " means or standard deviations for ",
                 numeric, " numeric features; give one for each, or none"));
    }
  }
  return features;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MemoryStore>> ParseCsv(
    std::string_view name, std::string_view text, const v1::CsvData& source) {
  MLEDGE_ASSIGN_OR_RETURN(const char delimiter,
                          DelimiterOf(name, source.delimiter()));
  Table table(name, text, delimiter);
  MLEDGE_RETURN_IF_ERROR(table.ReadHeader());
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<Feature> features,
                          FeaturesOf(table, source));
  std::vector<size_t> labels;
  for (const std::string& column : source.labels()) {
    MLEDGE_ASSIGN_OR_RETURN(labels.emplace_back(), table.Find(column));
  }
  if (labels.empty() || (!source.classes().empty() && labels.size() != 1)) {
    return absl::InvalidArgumentError(
        StrCat(name, ": ", labels.size(),
               " label columns; classification "
               "takes one, regression one or more"));
  }
  MLEDGE_ASSIGN_OR_RETURN(const auto classes,
                          WordMap(name, "classes", source.classes()));

  MemoryStore::Contents contents;
  int64_t width = 0;
  for (const Feature& feature : features) {
    width += feature.words.has_value()
                 ? static_cast<int64_t>(feature.words->size())
                 : 1;
  }
  contents.input.shape = {width};
  contents.classes = static_cast<int64_t>(classes.size());
  contents.label_width = static_cast<int64_t>(labels.size());
  // Whole numbers from 0 on, in one column, may be meant as classes.
  constexpr float kMostClasses = 1 << 20;
  bool countable = classes.empty() && labels.size() == 1;
  float largest = 0;

  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const bool any, table.NextRow());
    if (!any) break;
    for (const Feature& feature : features) {
      if (feature.words.has_value()) {
        MLEDGE_ASSIGN_OR_RETURN(const int64_t word,
                                WordIn(table, feature.column,
                                       "values listed for it", *feature.words));
        const size_t begin = contents.inputs.size();
        contents.inputs.resize(begin + feature.words->size());
        contents.inputs[begin + word] = 1;
        continue;
      }
      MLEDGE_ASSIGN_OR_RETURN(const float value,
                              NumberIn(table, feature.column));
      contents.inputs.push_back((value - feature.mean) /
                                feature.standard_deviation);
    }
    if (!classes.empty()) {
      MLEDGE_ASSIGN_OR_RETURN(contents.class_labels.emplace_back(),
                              WordIn(table, labels[0], "classes", classes));
      continue;
    }
    for (const size_t column : labels) {
      MLEDGE_ASSIGN_OR_RETURN(const float value, NumberIn(table, column));
      contents.label_values.push_back(value);
      countable = countable && value >= 0 && value < kMostClasses &&
                  value == std::floor(value);
      largest = std::max(largest, value);
    }
  }
  if (contents.inputs.empty()) {
    return absl::InvalidArgumentError(
        StrCat(name, ": no rows under the header"));
  }
  if (countable) {
    contents.classes = static_cast<int64_t>(largest) + 1;
    contents.class_labels.assign(contents.label_values.begin(),
                                 contents.label_values.end());
  }
  absl::StatusOr<std::unique_ptr<MemoryStore>> store =
      MemoryStore::Create(std::move(contents));
  if (!store.ok()) return Annotate(store.status(), name);
  return store;
}

absl::StatusOr<std::unique_ptr<MemoryStore>> OpenCsv(
    const std::string& path, const v1::CsvData& source) {
  MLEDGE_ASSIGN_OR_RETURN(const std::string text, ReadMaybeGzippedFile(path));
  return ParseCsv(path, text, source);
}

absl::StatusOr<std::vector<std::string>> ParseCsvColumn(
    std::string_view name, std::string_view text, std::string_view delimiter,
    std::string_view column) {
  MLEDGE_ASSIGN_OR_RETURN(const char separator, DelimiterOf(name, delimiter));
  Table table(name, text, separator);
  MLEDGE_RETURN_IF_ERROR(table.ReadHeader());
  MLEDGE_ASSIGN_OR_RETURN(const size_t index, table.Find(column));
  std::vector<std::string> values;
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const bool any, table.NextRow());
    if (!any) return values;
    values.push_back(table.field(index).text);
  }
}

absl::StatusOr<std::vector<std::string>> ReadCsvColumn(
    const std::string& path, std::string_view delimiter,
    std::string_view column) {
  MLEDGE_ASSIGN_OR_RETURN(const std::string text, ReadMaybeGzippedFile(path));
  return ParseCsvColumn(path, text, delimiter, column);
}

}  // namespace mledge
