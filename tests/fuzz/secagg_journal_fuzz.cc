#include <google/protobuf/stubs/logging.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mledge/core/logging.h"
#include "mledge/tests/fuzz/edit_bytes.h"
#include "mledge/tests/fuzz/session_of_four.h"
#include "mledge/v1/secure_aggregation.pb.h"

// Bytes from a device's disk as its journal of secure aggregation. Byte 0 says
// which sound journal is bent (after the masked input, after the sets, after
// the shares were released), byte 1 how: replaced, edited, or merged with the
// rest as a message. Whatever is read, the device may be told everything that
// it was told before the restart; it ends or goes on, and its masked input
// never enters a second session.

namespace mledge::secagg {
namespace {

constexpr int kStages = 3;

struct Setting {
  SessionWorld world{SessionOfFour()};
  std::vector<std::string> journals;
  std::shared_ptr<const std::string> masked_input;
  std::vector<v1::SecaggServerMessage> told;

  // One sound session, in which device 0 is watched.
  Setting() {
    world.to_device = [this](WorldDevice& to,
                             v1::SecaggServerMessage& message) {
      if (&to != &world.device(0)) return true;
      told.push_back(message);
      if (to.masked_input != nullptr) masked_input = to.masked_input;
      if (message.has_sets() || message.has_signatures() ||
          message.has_outcome()) {
        journals.push_back(to.journal);
      }
      return true;
    };
    world.Run();
    CHECK(journals.size() == kStages && masked_input != nullptr);
    world.to_device = nullptr;
  }
};

std::string Bend(std::string sound, uint8_t how, std::string_view bytes) {
  if (how % 3 == 0) return std::string(bytes);
  if (how % 3 == 1) return EditBytes(std::move(sound), bytes);
  v1::SecaggJournal journal;
  v1::SecaggJournal bent;
  CHECK(journal.ParseFromString(sound));
  if (!bent.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return std::string(bytes);
  }
  journal.MergeFrom(bent);
  return journal.SerializeAsString();
}

void FuzzOne(std::string_view bytes) {
  // Protobuf reports each name that is not UTF-8.
  google::protobuf::SetLogHandler(nullptr);
  static Setting* const kSetting = new Setting;
  if (bytes.size() < 2) return;
  SessionWorld& world = kSetting->world;
  WorldDevice& device = world.device(0);
  device.journal =
      Bend(kSetting->journals[static_cast<uint8_t>(bytes[0]) % kStages],
           static_cast<uint8_t>(bytes[1]), bytes.substr(2));
  device.masked_input = kSetting->masked_input;
  device.client.reset();
  device.finished.reset();
  if (!world.MakeClient(device).ok()) return;
  const auto take = [&](ClientEffects effects) {
    for (const ClientEffect& effect : effects) {
      if (const auto* upload = std::get_if<UploadMaskedInput>(&effect)) {
        // Made anew, a masked input would differ: keys are random.
        CHECK(device.client->update_spent());
      }
    }
  };
  take(device.client->Start(world.now()));
  for (const v1::SecaggServerMessage& message : kSetting->told) {
    take(device.client->OnMessage(world.now(), message));
  }
  take(device.client->OnTimer(world.now() + absl::Hours(1)));
  take(device.client->Leave(world.now() + absl::Hours(1),
                            absl::CancelledError("the end")));
  CHECK(device.client->finished());
}

}  // namespace
}  // namespace mledge::secagg

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mledge::secagg::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
