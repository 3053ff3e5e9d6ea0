#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mledge/client/compressed_file.h"
#include "mledge/client/idx_source.h"
#include "mledge/core/logging.h"

// Bytes from outside as IDX files, packed or not: the input is cut in two, so
// that one part can be images and the other labels. What is accepted must be
// readable from the first example to the last.

namespace mledge {
namespace {

constexpr int64_t kLargestUnpacked = 1 << 20;

void FuzzOne(std::string_view bytes) {
  if (bytes.empty()) return;
  const size_t cut = static_cast<uint8_t>(bytes[0]) * (bytes.size() - 1) / 255;
  bytes.remove_prefix(1);
  std::vector<IdxArray> arrays;
  for (const std::string_view part :
       {bytes.substr(0, cut), bytes.substr(cut)}) {
    absl::StatusOr<std::string> unpacked =
        UnpackIfGzip("fuzz", std::string(part), kLargestUnpacked);
    if (!unpacked.ok()) return;
    absl::StatusOr<IdxArray> array = ParseIdx("fuzz", *std::move(unpacked));
    if (!array.ok()) return;
    arrays.push_back(*std::move(array));
  }
  const auto store =
      IdxStore::Create(std::move(arrays[0]), std::move(arrays[1]), {});
  if (!store.ok()) return;
  ExampleBatch batch;
  for (int64_t i = 0; i < (*store)->size(); ++i) {
    CHECK((*store)->Read(std::vector<int64_t>{i}, &batch).ok());
    CHECK(batch.class_labels[0] < (*store)->classes());
  }
}

}  // namespace
}  // namespace mledge

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mledge::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
