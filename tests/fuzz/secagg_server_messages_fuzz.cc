#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include <bit>
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
#include "mledge/tests/fuzz/fuzz_input.h"
#include "mledge/tests/fuzz/session_of_four.h"
#include "mledge/v1/secure_aggregation.pb.h"

// What a coordinator says to device 0 between the messages of an honest session
// of four. Each lie is a byte for how many honest messages arrive before it, so
// that it meets the device in every state, also while it waits for its disk;
// one for what it is; one for the message that it bends; and a field of bytes.
// Whatever the device is told, it ends or goes on; its masked input enters one
// session; and in each session it shares, signs and releases once, for sets of
// which nobody is in both and enough are alive.

namespace mledge::secagg {
namespace {

class LyingCoordinator {
 public:
  explicit LyingCoordinator(std::string_view script)
      : script_(script), world_(SessionOfFour()), device_(world_.device(0)) {
    DrawRepeatably(world_);
    world_.to_device = [this](WorldDevice& to,
                              const v1::SecaggServerMessage& message) {
      told_.push_back(message);
      if (&to == &device_) LieWhenDue();
      return true;
    };
    world_.to_server = [this](WorldDevice& from,
                              const v1::SecaggDeviceMessage& message) {
      if (&from == &device_) CheckSaid(message);
      return true;
    };
  }

  void Run() {
    const bool honest = script_.empty();
    honest_left_ = script_.Byte() % 8;
    world_.Run();
    while (!script_.empty()) Lie();
    world_.Run();  // what the last lies led to
    CHECK(!honest || world_.finished.size() == 1);
    for (const UploadMaskedInput& upload : device_.uploads) {
      CHECK(upload.session == device_.uploads[0].session);
      CHECK(upload.content_sha256 == device_.uploads[0].content_sha256);
    }
    if (device_.client == nullptr) return;  // not restarted: it says why
    CHECK(device_.uploads.empty() || device_.client->update_spent());
    world_.Handle(device_, device_.client->Leave(
                               world_.now(), absl::CancelledError("the end")));
    CHECK(device_.client->finished() && device_.finished.has_value());
  }

 private:
  void LieWhenDue() {
    while (honest_left_ == 0 && !script_.empty()) {
      Lie();
      honest_left_ = script_.Byte() % 8;
    }
    if (honest_left_ > 0) --honest_left_;
  }

  void Lie() {
    const uint8_t what = script_.Byte();
    const uint8_t which = script_.Byte();
    const std::string_view bytes = script_.Field();
    if (device_.client == nullptr) return;
    switch (what % 8) {
      case 0:
        Tell(std::string(bytes));
        break;
      case 1:
      case 2:
      case 3:
        if (const auto* told = Told(which)) {
          Tell(EditBytes(told->SerializeAsString(), bytes));
        }
        break;
      case 4:
        // Fields repeated in a message are merged.
        if (const auto* told = Told(which)) {
          Tell(told->SerializeAsString() + std::string(bytes));
        }
        break;
      case 5:
        (void)world_.Restart(device_);
        break;
      case 6:
        world_.Handle(device_,
                      device_.client->OnPersisted(world_.now(), which));
        break;
      default:
        world_.Handle(device_, device_.client->OnTimer(world_.now() +
                                                       absl::Minutes(which)));
    }
  }

  void Tell(const std::string& bytes) {
    v1::SecaggServerMessage message;
    if (message.ParseFromString(bytes)) world_.Deliver(device_, message);
  }

  // Of all that the devices were told so far, the last ones first.
  const v1::SecaggServerMessage* Told(uint8_t which) const {
    return told_.empty() ? nullptr
                         : &told_[told_.size() - 1 - which % told_.size()];
  }

  // Once in a session, and again only word for word.
  void CheckSaid(const v1::SecaggDeviceMessage& message) {
    const std::string session =
        message.has_share_boxes()      ? message.share_boxes().session()
        : message.has_sets_signature() ? message.sets_signature().session()
        : message.has_unmask()         ? message.unmask().session()
                                       : "";
    if (session.empty()) return;
    const std::string bytes = message.SerializeAsString();
    const auto [said, first] =
        said_.try_emplace({session, message.message_case()}, bytes);
    CHECK(first || said->second == bytes) << message.ShortDebugString();
    if (message.has_unmask() && first) CheckReleased(session);
  }

  void CheckReleased(const std::string& session) {
    CHECK(said_.contains({session, v1::SecaggDeviceMessage::kSetsSignature}));
    v1::SecaggJournal journal;
    CHECK(journal.ParseFromString(device_.journal));
    if (journal.session() != session) return;  // ended meanwhile, and erased
    CHECK(journal.alive().size() == 1 && journal.dead().size() == 1);
    const auto alive = static_cast<uint8_t>(journal.alive()[0]);
    const auto dead = static_cast<uint8_t>(journal.dead()[0]);
    CHECK((alive & dead) == 0);
    CHECK(std::popcount(alive) >= world_.options.least_alive);
  }

  FuzzInput script_;
  SessionWorld world_;
  WorldDevice& device_;
  int honest_left_ = 0;
  std::vector<v1::SecaggServerMessage> told_;
  std::map<std::pair<std::string, int>, std::string> said_;
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
  mledge::secagg::LyingCoordinator({reinterpret_cast<const char*>(data), size})
      .Run();
  return 0;
}
