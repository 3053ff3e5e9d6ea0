#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mledge/core/logging.h"
#include "mledge/tests/fuzz/edit_bytes.h"
#include "mledge/tests/fuzz/fuzz_input.h"
#include "mledge/tests/fuzz/session_of_four.h"

// What devices say to the coordinator between the messages of an honest session
// of four, and after its end. Each lie is a byte for how many honest messages
// arrive before it, so that it meets the server in every state; one for who
// speaks (a device, or one that is in no directory) and what it does; one for
// the message that it bends; and a field of bytes. Nobody may end the process,
// the session ends, and a sum that comes out is the right one.

namespace mledge::secagg {
namespace {

class LyingDevices {
 public:
  explicit LyingDevices(std::string_view script)
      : script_(script), world_(SessionOfFour()) {
    DrawRepeatably(world_);
    world_.to_server = [this](WorldDevice&, const v1::SecaggDeviceMessage&) {
      LieWhenDue();
      return true;
    };
    world_.upload = [this](WorldDevice&, const std::string&) {
      LieWhenDue();
      return true;
    };
  }

  void Run() {
    const bool honest = script_.empty();
    honest_left_ = script_.Byte() % 32;
    world_.Run();
    while (!script_.empty()) Lie();
    world_.Run();  // what the last lies led to
    CHECK(!honest || world_.finished.size() == 1);
    // A masked input that was changed adds what it likes to each coordinate; a
    // sum without such a change is exact.
    if (!world_.finished.empty() && !input_changed_) world_.ExpectExactSum();
  }

 private:
  void LieWhenDue() {
    while (honest_left_ == 0 && !script_.empty()) {
      Lie();
      honest_left_ = script_.Byte() % 32;
    }
    if (honest_left_ > 0) --honest_left_;
  }

  void Lie() {
    const uint8_t what = script_.Byte();
    const uint8_t which = script_.Byte();
    const std::string_view bytes = script_.Field();
    // The fifth is nobody's.
    const int speaker = what / 8 % (world_.size() + 1);
    const DeviceId id("device-0000" + std::to_string(speaker));
    SecaggServer& server = world_.server();
    switch (what % 8) {
      case 0:
        Say(id, std::string(bytes));
        break;
      case 1:
      case 2:
      case 3:
        if (const auto* sent = Sent(which)) {
          Say(id, EditBytes(sent->SerializeAsString(), bytes));
        }
        break;
      case 4: {
        // Fields repeated in a message are merged.
        if (const auto* sent = Sent(which)) {
          Say(id, sent->SerializeAsString() + std::string(bytes));
        }
        break;
      }
      case 5:
        SendMaskedInput(id, speaker, which, bytes);
        break;
      case 6:
        world_.Handle(server.OnConnected(world_.now(), id).effects);
        break;
      default:
        world_.Handle(server.OnTimer(world_.now() + absl::Seconds(which)));
    }
  }

  void Say(const DeviceId& id, const std::string& bytes) {
    v1::SecaggDeviceMessage message;
    if (!message.ParseFromString(bytes)) return;
    world_.Handle(world_.server().OnMessage(world_.now(), id, message).effects);
  }

  // Of all that the devices said so far.
  const v1::SecaggDeviceMessage* Sent(uint8_t which) {
    const auto& sent = world_.device(which % world_.size()).sent;
    return sent.empty() ? nullptr : &sent[which / world_.size() % sent.size()];
  }

  void SendMaskedInput(const DeviceId& id, int speaker, uint8_t which,
                       std::string_view bytes) {
    const ServerGroup* const group = world_.server().group(0);
    if (group == nullptr) return;
    const auto& uploads = world_.device(which % world_.size()).uploads;
    std::string input = which / world_.size() % 2 == 0 || uploads.empty()
                            ? std::string(bytes)
                            : EditBytes(*uploads[0].bytes, bytes);
    ServerReaction reaction = world_.server().OnMaskedInput(
        world_.now(), id, group->session(), Sha256Of(input), input);
    if (reaction.status.ok()) {
      CHECK(speaker < world_.size()) << "a masked input from nobody";
      const auto& own = world_.device(speaker).uploads;
      input_changed_ |= own.empty() || *own[0].bytes != input;
    }
    world_.Handle(std::move(reaction.effects));
  }

  FuzzInput script_;
  SessionWorld world_;
  int honest_left_ = 0;
  bool input_changed_ = false;
};

}  // namespace
}  // namespace mledge::secagg

// What the world expects is a finding here when it does not hold.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  GTEST_FLAG_SET(break_on_failure, true);
  google::protobuf::SetLogHandler(nullptr);  // reports what is not UTF-8
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mledge::secagg::LyingDevices({reinterpret_cast<const char*>(data), size})
      .Run();
  return 0;
}
