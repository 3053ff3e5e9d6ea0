#ifndef MLEDGE_CLIENT_INTERNAL_CSV_READER_H_
#define MLEDGE_CLIENT_INTERNAL_CSV_READER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Cuts a text into records and fields; knows nothing of what they mean. One
// thread at a time.

namespace mledge::client_internal {

class CsvReader {
 public:
  struct Field {
    std::string text;
    int64_t line = 0;    // from 1
    int64_t column = 0;  // character in the line, from 1
  };

  // `name` and `text` must outlive the reader. A byte order mark is skipped.
  CsvReader(std::string_view name, std::string_view text, char delimiter);

  // The next record; false at the end of the text. Fields are reused from call
  // to call.
  absl::StatusOr<bool> Next(std::vector<Field>* fields);

 private:
  absl::Status ReadField(Field* field);
  absl::Status ReadQuoted(Field* field);
  bool AtRecordEnd() const;
  int64_t column() const {
    return static_cast<int64_t>(position_ - line_start_) + 1;
  }

  std::string_view name_;
  std::string_view text_;
  char delimiter_;
  size_t position_ = 0;
  size_t line_start_ = 0;
  int64_t line_ = 1;
};

// "name:line:column: ".
std::string At(std::string_view name, const CsvReader::Field& field);

// `did you mean "age"? The file has: age, sex` (at most 20 names).
std::string SuggestColumn(std::string_view wrong,
                          const std::vector<std::string>& columns);

}  // namespace mledge::client_internal

#endif  // MLEDGE_CLIENT_INTERNAL_CSV_READER_H_
