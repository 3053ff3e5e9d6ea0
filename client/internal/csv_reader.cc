#include "mledge/client/internal/csv_reader.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::client_internal {
namespace {

// Levenshtein.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

}  // namespace

CsvReader::CsvReader(std::string_view name, std::string_view text,
                     char delimiter)
    : name_(name), text_(text), delimiter_(delimiter) {
  if (text_.starts_with("\xEF\xBB\xBF")) position_ = line_start_ = 3;
}

bool CsvReader::AtRecordEnd() const {
  return position_ == text_.size() || text_[position_] == '\n' ||
         (text_[position_] == '\r' && position_ + 1 < text_.size() &&
          text_[position_ + 1] == '\n');
}

absl::StatusOr<bool> CsvReader::Next(std::vector<Field>* fields) {
  if (position_ == text_.size()) return false;
  size_t count = 0;
  while (true) {
    if (fields->size() == count) fields->emplace_back();
    MLEDGE_RETURN_IF_ERROR(ReadField(&(*fields)[count++]));
    if (AtRecordEnd()) break;
    ++position_;  // the delimiter
  }
  fields->resize(count);
  if (position_ < text_.size()) {
    position_ += text_[position_] == '\r' ? 2 : 1;
    ++line_;
    line_start_ = position_;
  }
  return true;
}

absl::Status CsvReader::ReadField(Field* field) {
  field->text.clear();
  field->line = line_;
  field->column = column();
  if (position_ < text_.size() && text_[position_] == '"') {
    return ReadQuoted(field);
  }
  while (!AtRecordEnd() && text_[position_] != delimiter_) {
    if (text_[position_] == '"') {
      return absl::InvalidArgumentError(
          StrCat(name_, ":", line_, ":", column(),
                 ": a quote in the middle of a field; put the whole field in "
                 "quotes and double the quotes in it"));
    }
    field->text.push_back(text_[position_++]);
  }
  return absl::OkStatus();
}

absl::Status CsvReader::ReadQuoted(Field* field) {
  ++position_;
  while (position_ < text_.size()) {
    const char c = text_[position_++];
    if (c != '"') {
      field->text.push_back(c);
      if (c == '\n') {
        ++line_;
        line_start_ = position_;
      }
      continue;
    }
    if (position_ < text_.size() && text_[position_] == '"') {
      field->text.push_back('"');
      ++position_;
      continue;
    }
    if (AtRecordEnd() || text_[position_] == delimiter_) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        StrCat(name_, ":", line_, ":", column(),
               ": characters after a closing quote; a quote in a quoted field "
               "is written twice"));
  }
  return absl::InvalidArgumentError(
      StrCat(At(name_, *field),
             "the quote that opens here is never closed; close it, or double "
             "it if it belongs to the text"));
}

std::string At(std::string_view name, const CsvReader::Field& field) {
  return StrCat(name, ":", field.line, ":", field.column, ": ");
}

std::string SuggestColumn(std::string_view wrong,
                          const std::vector<std::string>& columns) {
  constexpr size_t kNamesShown = 20;
  // Comparing costs the product of the lengths; nobody means a column by a
  // page of text.
  constexpr size_t kLongestCompared = 200;
  std::string text;
  const std::string* nearest = nullptr;
  size_t nearest_distance = std::max<size_t>(2, wrong.size() / 3) + 1;
  for (const std::string& column : columns) {
    if (wrong.size() > kLongestCompared || column.size() > kLongestCompared) {
      continue;
    }
    const size_t distance = EditDistance(wrong, column);
    if (distance < nearest_distance) {
      nearest = &column;
      nearest_distance = distance;
    }
  }
  if (nearest != nullptr) StrAppend(&text, "did you mean \"", *nearest, "\"? ");
  StrAppend(&text, "The file has: ");
  for (size_t i = 0; i < std::min(columns.size(), kNamesShown); ++i) {
    StrAppend(&text, i == 0 ? "" : ", ", columns[i].substr(0, 80));
  }
  if (columns.size() > kNamesShown) {
    StrAppend(&text, " and ", columns.size() - kNamesShown, " more");
  }
  return text;
}

}  // namespace mledge::client_internal
