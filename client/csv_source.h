#ifndef MLEDGE_CLIENT_CSV_SOURCE_H_
#define MLEDGE_CLIENT_CSV_SOURCE_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/client/memory_store.h"
#include "mledge/v1/data.pb.h"

// Tables with a header line, read strictly: what cannot be understood is an
// error and never a missing example. Fields follow RFC 4180 (quotes, doubled
// quotes, line breaks inside quotes; LF or CRLF); numbers are decimal, spaces
// around them are allowed.
//
// Errors are INVALID_ARGUMENT and read "FILE:LINE: ..." or
// "FILE:LINE:COLUMN: ..." (characters from 1): missing or duplicate column,
// wrong number of fields, not a number, NaN, infinity, empty value, a label or
// word that the data source does not list, a quote out of place.

namespace mledge {

// A text as a store. `name` is for messages. The store's class labels: numbers
// in the order of `classes`; without `classes`, a single label column of whole
// numbers from 0 on is offered both as class labels and as label values.
absl::StatusOr<std::unique_ptr<MemoryStore>> ParseCsv(
    std::string_view name, std::string_view text, const v1::CsvData& source);

// Reads and unpacks the file at `path` (source.file is not looked at); also the
// codes of ReadFile and UnpackIfGzip.
absl::StatusOr<std::unique_ptr<MemoryStore>> OpenCsv(const std::string& path,
                                                     const v1::CsvData& source);

// The values of one column, row by row, as they stand: for partitions by
// column.
absl::StatusOr<std::vector<std::string>> ParseCsvColumn(
    std::string_view name, std::string_view text, std::string_view delimiter,
    std::string_view column);
absl::StatusOr<std::vector<std::string>> ReadCsvColumn(
    const std::string& path, std::string_view delimiter,
    std::string_view column);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_CSV_SOURCE_H_
