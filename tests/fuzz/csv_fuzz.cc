#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string_view>
#include <vector>

#include "mledge/client/csv_source.h"
#include "mledge/client/subset_store.h"
#include "mledge/core/logging.h"

// Bytes from outside as a table, read in three ways (numbers, words, one column
// as it stands), and as an index file. No value that is accepted may be NaN or
// infinite.

namespace mledge {
namespace {

v1::CsvData Numbers() {
  v1::CsvData source;
  source.add_features("a");
  source.add_features("b");
  source.add_labels("c");
  return source;
}

v1::CsvData Words() {
  v1::CsvData source = Numbers();
  v1::CategoricalColumn* column = source.add_categorical();
  column->set_column("b");
  column->add_values("x");
  column->add_values("y");
  source.add_classes("no");
  source.add_classes("yes");
  source.set_delimiter(";");
  return source;
}

void FuzzOne(std::string_view bytes) {
  static const v1::CsvData* const kNumbers = new v1::CsvData(Numbers());
  static const v1::CsvData* const kWords = new v1::CsvData(Words());
  for (const v1::CsvData* source : {kNumbers, kWords}) {
    const auto store = ParseCsv("fuzz", bytes, *source);
    if (!store.ok()) continue;
    std::vector<int64_t> positions((*store)->size());
    std::iota(positions.begin(), positions.end(), int64_t{0});
    ExampleBatch batch;
    CHECK((*store)->Read(positions, &batch).ok());
    for (const float value : batch.inputs) CHECK(std::isfinite(value));
    for (const float value : batch.label_values) CHECK(std::isfinite(value));
  }
  (void)ParseCsvColumn("fuzz", bytes, "", "a");
  constexpr int64_t kExamples = 1000;
  const auto positions = ParseIndexFile("fuzz", bytes, kExamples);
  if (!positions.ok()) return;
  for (const int64_t position : *positions) {
    CHECK(position >= 0 && position < kExamples);
  }
}

}  // namespace
}  // namespace mledge

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mledge::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
