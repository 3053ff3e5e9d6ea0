#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "mledge/core/logging.h"
#include "mledge/tests/fuzz/edit_bytes.h"
#include "mledge/tests/fuzz/session_of_four.h"

// A session of four devices in which one message, to a device or to the server,
// is replaced or edited: byte 0 says which, byte 1 how; the rest is the new
// message, or what EditBytes takes. Nobody may end the process, and a sum that
// comes out is the right one.

namespace mledge::secagg {
namespace {

void FuzzOne(std::string_view input) {
  if (input.size() < 2) return;
  const int target = static_cast<uint8_t>(input[0]) % 64;
  const bool edit = input[1] % 2 != 0;
  const std::string_view payload = input.substr(2);
  SessionWorld world(SessionOfFour());
  DrawRepeatably(world);

  int passed = 0;
  const auto bend = [&](std::string bytes) {
    if (passed++ != target) return bytes;
    return edit ? EditBytes(std::move(bytes), payload) : std::string(payload);
  };
  const auto pass = [&](auto& message) {
    return message.ParseFromString(bend(message.SerializeAsString()));
  };
  world.to_device = [&](WorldDevice&, v1::SecaggServerMessage& message) {
    return pass(message);
  };
  world.to_server = [&](WorldDevice&, v1::SecaggDeviceMessage& message) {
    return pass(message);
  };
  bool input_changed = false;
  world.upload = [&](WorldDevice&, std::string& bytes) {
    std::string sent = bend(bytes);
    input_changed |= sent != bytes;
    bytes = std::move(sent);
    return true;
  };
  world.Run();
  // Nothing was changed.
  CHECK(passed > target || world.finished.size() == 1);
  // A masked input that was changed adds what it likes to each coordinate; a
  // sum without such a change is exact.
  if (!world.finished.empty() && !input_changed) world.ExpectExactSum();
}

}  // namespace
}  // namespace mledge::secagg

// What the world expects is a finding here when it does not hold.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  GTEST_FLAG_SET(break_on_failure, true);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mledge::secagg::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
