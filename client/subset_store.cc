#include "mledge/client/subset_store.h"

#include <charconv>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "mledge/client/memory_store.h"
#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SubsetStore>> SubsetStore::Create(
    std::shared_ptr<const ExampleStore> store, std::vector<int64_t> positions) {
  std::vector<bool> seen(store->size(), false);
  for (const int64_t position : positions) {
    if (position < 0 || position >= store->size()) {
      return absl::InvalidArgumentError(
          PositionOutOfRange(position, store->size()).message());
    }
    if (seen[position]) {
      return absl::InvalidArgumentError(
          StrCat("example ", position, " is named twice"));
    }
    seen[position] = true;
  }
  return std::make_unique<SubsetStore>(std::move(store), std::move(positions));
}

SubsetStore::SubsetStore(std::shared_ptr<const ExampleStore> store,
                         std::vector<int64_t> positions)
    : store_(std::move(store)), positions_(std::move(positions)) {}

absl::Status SubsetStore::Read(std::span<const int64_t> positions,
                               ExampleBatch* batch) const {
  std::vector<int64_t> translated;
  translated.reserve(positions.size());
  for (const int64_t position : positions) {
    if (position < 0 || position >= size()) {
      return PositionOutOfRange(position, size());
    }
    translated.push_back(positions_[position]);
  }
  return store_->Read(translated, batch);
}

absl::StatusOr<std::vector<int64_t>> ParseIndexFile(std::string_view name,
                                                    std::string_view text,
                                                    int64_t example_count) {
  std::vector<int64_t> positions;
  absl::flat_hash_map<int64_t, int64_t> line_of;
  int64_t line_number = 0;
  while (!text.empty()) {
    ++line_number;
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view()
                                         : text.substr(end + 1);
    line = Trim(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    int64_t value = 0;
    const auto [rest, error] =
        std::from_chars(line.data(), line.data() + line.size(), value);
    const bool whole = rest == line.data() + line.size();
    if (error == std::errc::invalid_argument || !whole) {
      return absl::InvalidArgumentError(
          StrCat(name, ":", line_number, ": \"", line.substr(0, 40),
                 "\" is not the number of an example; an index file has one "
                 "decimal number a line, and # starts a comment"));
    }
    if (error != std::errc() || value < 0 || value >= example_count) {
      return absl::InvalidArgumentError(
          StrCat(name, ":", line_number, ": example ", line.substr(0, 40),
                 " does not exist: the data hold ", example_count,
                 " examples, numbered from 0; was the index file made for "
                 "other data?"));
    }
    const auto [earlier, fresh] = line_of.try_emplace(value, line_number);
    if (!fresh) {
      return absl::InvalidArgumentError(
          StrCat(name, ":", line_number, ": example ", value,
                 " is named twice, first in line ", earlier->second,
                 "; name each example once"));
    }
    positions.push_back(value);
  }
  return positions;
}

absl::StatusOr<std::vector<int64_t>> ReadIndexFile(const std::string& path,
                                                   int64_t example_count) {
  MLEDGE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseIndexFile(path, text, example_count);
}

std::string FormatIndexFile(std::span<const int64_t> positions,
                            std::string_view comment) {
  std::string text;
  if (!comment.empty()) StrAppend(&text, "# ", comment, "\n");
  for (const int64_t position : positions) StrAppend(&text, position, "\n");
  return text;
}

}  // namespace mledge
