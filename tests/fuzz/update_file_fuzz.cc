#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "mledge/aggregation/aggregator.h"
#include "mledge/aggregation/update_file.h"
#include "mledge/core/logging.h"

// Bytes from outside as an update file: as they are; as a header behind a sound
// preamble with a body of the size that it describes, which is what the
// aggregator gets to see. Whatever is accepted must be written and read again
// as the same update, and the header alone must say the same as the whole file.

namespace mledge {
namespace {

void Check(std::string bytes) {
  const std::span<const uint8_t> span(
      reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  const absl::StatusOr<UpdateFileHeader> header =
      ParseUpdateHeader(span, span.size());
  const auto file = UpdateFile::FromBytes(bytes);
  if (!file.ok()) return;
  CHECK(header.ok()) << header.status();
  const UpdateView& view = (*file)->view();
  CHECK(view.sections.size() == header->sections.size());
  const absl::StatusOr<std::string> written =
      SerializeUpdate(view.ToUpdate(), view.context);
  CHECK(written.ok()) << written.status();
  const auto again = UpdateFile::FromBytes(*written);
  CHECK(again.ok()) << again.status();
  CHECK((*again)->view().context == view.context);
  const absl::StatusOr<std::string> twice =
      SerializeUpdate((*again)->view().ToUpdate(), view.context);
  CHECK(twice.ok() && *twice == *written);

  static const auto& aggregator =
      *Aggregator::Create(TrainingAggregationSpec(4, 16, 1000, false, 8))
           ->release();
  if (aggregator.Validate(view).ok()) {
    auto sum = *Aggregator::Create(aggregator.spec());
    const UpdateView* updates[] = {&view, &view};
    CHECK(sum->Fold(updates).ok());
  }
}

std::string Frame(std::string_view header, std::string_view body) {
  std::string bytes("MLEDGEUP\x01\0\0\0", 12);
  const auto size = static_cast<uint32_t>(header.size());
  bytes.append(reinterpret_cast<const char*>(&size), sizeof(size));
  bytes.append(header);
  bytes.resize((bytes.size() + 63) / 64 * 64);
  return bytes.append(body);
}

void FuzzOne(std::string_view bytes) {
  Check(std::string(bytes));
  // The first byte splits header from body.
  if (!bytes.empty()) {
    const size_t split =
        std::min<size_t>(static_cast<uint8_t>(bytes[0]), bytes.size() - 1);
    const std::string_view rest = bytes.substr(1);
    Check(Frame(rest.substr(0, split), rest.substr(split)));
  }
}

}  // namespace
}  // namespace mledge

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mledge::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
