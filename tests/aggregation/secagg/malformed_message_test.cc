#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "google/protobuf/message.h"
#include "mledge/tests/aggregation/secagg/member_entries.h"
#include "mledge/tests/aggregation/secagg/session_world.h"
#include "mledge/tests/support/status_matchers.h"

// Messages that nobody honest sends, at each step and to both ends: damaged,
// too large, too short, repeated, out of order. Nothing may end the process;
// what is lost is the sender or the session, and said so.

namespace mledge::secagg {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using Outcome = ClientFinished::Outcome;

constexpr int kVictim = 4;

// Every way to damage one field of `message`, or of one inside it.
void Damage(Message& whole, Message& message,
            const std::function<void(const std::string&)>& use) {
  const Reflection* const reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string name = field->full_name();
    const bool is_message =
        field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (is_message && !field->is_repeated()) {
      Damage(whole, *reflection->MutableMessage(&message, field), use);
      continue;
    }
    std::unique_ptr<Message> kept(message.New());
    kept->CopyFrom(message);
    if (field->is_repeated()) {
      // The first entry damaged, then one entry less, twice, and turned over.
      if (is_message) {
        Damage(whole, *reflection->MutableRepeatedMessage(&message, field, 0),
               use);
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
        reflection->SetRepeatedUInt32(&message, field, 0, 1000);
        use(name + " begins with 1000");
      }
      message.CopyFrom(*kept);
      reflection->RemoveLast(&message, field);
      use(name + " one less");
      message.CopyFrom(*kept);
      if (is_message) {
        reflection->AddMessage(&message, field)
            ->CopyFrom(reflection->GetRepeatedMessage(*kept, field, 0));
        use(name + " repeated");
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
        reflection->AddUInt32(&message, field,
                              reflection->GetRepeatedUInt32(*kept, field, 0));
        use(name + " repeated");
      }
      message.CopyFrom(*kept);
      if (reflection->FieldSize(message, field) > 1) {
        reflection->SwapElements(&message, field, 0, 1);
        use(name + " swapped");
        message.CopyFrom(*kept);
      }
      continue;
    }
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      const std::string value = reflection->GetString(message, field);
      std::string flipped = value;
      if (!flipped.empty()) flipped[flipped.size() / 2] ^= 0x10;
      const std::vector<std::string> values = {
          "", flipped, value.substr(0, value.size() / 2), value + "x",
          std::string(300'000, 'x')};
      for (const std::string& other : values) {
        if (other == value) continue;
        reflection->SetString(&message, field, other);
        use(name + " of " + std::to_string(other.size()) + " bytes");
      }
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
      for (const uint32_t other : {1000u, 0xffffffffu}) {
        reflection->SetUInt32(&message, field, other);
        use(name + " = " + std::to_string(other));
      }
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
      for (const uint64_t other : {uint64_t{0}, ~uint64_t{0}}) {
        reflection->SetUInt64(&message, field, other);
        use(name + " = " + std::to_string(other));
      }
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
      for (const int64_t other : {INT64_MIN, INT64_MAX, int64_t{-1}}) {
        reflection->SetInt64(&message, field, other);
        use(name + " = " + std::to_string(other));
      }
    }
    message.CopyFrom(*kept);
  }
}

// The message of each kind that the victim gets in an honest session.
std::vector<v1::SecaggServerMessage> HonestServerMessages() {
  SessionWorld world({.devices = 10});
  std::vector<v1::SecaggServerMessage> messages;
  world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
    if (&to == &world.device(kVictim)) messages.push_back(message);
    return true;
  };
  world.Run();
  return messages;
}

class ServerMessageTest : public ::testing::TestWithParam<int> {};

// Each damage meets a device that is just waiting for that kind of message.
TEST_P(ServerMessageTest, DamagedMessagesEndTheSessionOfTheDevice) {
  const auto kind =
      static_cast<v1::SecaggServerMessage::MessageCase>(GetParam());
  // A device at that step, as its disk and its coordinator see it, is made anew
  // for each damage by running up to there.
  std::vector<std::string> names;
  {
    v1::SecaggServerMessage sample;
    for (const auto& message : HonestServerMessages()) {
      if (message.message_case() == kind) sample = message;
    }
    Damage(sample, sample, [&](const std::string& n) { names.push_back(n); });
  }
  ASSERT_FALSE(names.empty());
  // Every third, so that the suite stays quick; the fuzzer does the rest.
  for (size_t wanted = 0; wanted < names.size(); wanted += 3) {
    SessionWorld world({.devices = 10, .sections = {{9, 20}}});
    bool damaged = false;
    world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
      if (&to != &world.device(kVictim) || message.message_case() != kind) {
        return true;
      }
      std::string bytes;
      size_t next = 0;
      Damage(message, message, [&](const std::string&) {
        if (next++ == wanted) bytes = message.SerializeAsString();
      });
      damaged = !bytes.empty();
      v1::SecaggServerMessage changed;
      // Some damage does not even travel (text that is no UTF-8).
      if (!changed.ParseFromString(bytes)) changed.Clear();
      message = changed;
      return true;
    };
    world.Run();
    ASSERT_TRUE(damaged) << names[wanted];
    const auto& finished = world.device(kVictim).finished;
    ASSERT_TRUE(finished.has_value()) << names[wanted];
    // Damage inside one box (of nine with 92 bytes) or one signature is
    // survived; an outcome is only news.
    const bool survives =
        kind == v1::SecaggServerMessage::kOutcome ||
        names[wanted].find("Message.boxes of 828 bytes") != std::string::npos ||
        names[wanted].find("Signature.signature") != std::string::npos ||
        names[wanted].find("signatures one less") != std::string::npos;
    if (!survives) {
      EXPECT_EQ(finished->outcome, Outcome::kLeft) << names[wanted];
      EXPECT_FALSE(finished->reason.ok()) << names[wanted];
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ServerMessageTest,
                         ::testing::Values(v1::SecaggServerMessage::kOffer,
                                           v1::SecaggServerMessage::kDirectory,
                                           v1::SecaggServerMessage::kBoxes,
                                           v1::SecaggServerMessage::kSets,
                                           v1::SecaggServerMessage::kSignatures,
                                           v1::SecaggServerMessage::kOutcome));

class DeviceMessageTest : public ::testing::TestWithParam<int> {};

TEST_P(DeviceMessageTest, DamagedMessagesCostTheirSenderOnly) {
  const auto kind =
      static_cast<v1::SecaggDeviceMessage::MessageCase>(GetParam());
  std::vector<std::string> names;
  {
    SessionWorld world({.devices = 10});
    world.to_server = [&](WorldDevice& from, v1::SecaggDeviceMessage& message) {
      if (&from == &world.device(kVictim) && message.message_case() == kind) {
        Damage(message, message,
               [&](const std::string& n) { names.push_back(n); });
      }
      return true;
    };
    world.Run();
  }
  ASSERT_FALSE(names.empty());
  for (size_t wanted = 0; wanted < names.size(); ++wanted) {
    SessionWorld world(
        {.devices = 12, .dropout_fraction = 0.17, .sections = {{9, 20}}});
    world.to_server = [&](WorldDevice& from, v1::SecaggDeviceMessage& message) {
      if (&from != &world.device(kVictim) || message.message_case() != kind) {
        return true;
      }
      std::string bytes;
      size_t next = 0;
      Damage(message, message, [&](const std::string&) {
        if (next++ == wanted) bytes = message.SerializeAsString();
      });
      v1::SecaggDeviceMessage changed;
      if (!changed.ParseFromString(bytes)) changed.Clear();
      message = changed;
      return true;
    };
    world.Run();
    world.ExpectExactSum();
    EXPECT_GE(world.finished[0].counted.size(), 11u) << names[wanted];
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, DeviceMessageTest,
    ::testing::Values(v1::SecaggDeviceMessage::kAdvertise,
                      v1::SecaggDeviceMessage::kShareBoxes,
                      v1::SecaggDeviceMessage::kSetsSignature,
                      v1::SecaggDeviceMessage::kUnmask));

// The deployed peer dies of it.
TEST(DeviceMessageTest, AnUnmaskingShareOfOddSizeCostsItsSenderOnly) {
  for (const size_t size : {0, 1, 31, 33, 100}) {
    SessionWorld world({.devices = 12, .dropout_fraction = 0.17});
    world.to_server = [&](WorldDevice& from, v1::SecaggDeviceMessage& message) {
      if (&from == &world.device(kVictim) && message.has_unmask()) {
        MemberEntries shares = SharesIn(message.unmask());
        shares.at(3) = std::string(size, 'x');
        PutShares(shares, *message.mutable_unmask());
      }
      return true;
    };
    world.Run();
    world.ExpectExactSum();
    ASSERT_THAT(world.finished[0].lost, SizeIs(1));
    EXPECT_EQ(world.finished[0].lost[0].round, Round::kUnmask);
  }
}

// The deployed peer reads beyond it.
TEST(DeviceMessageTest, AShortUnmaskingResponseIsUsedAsFarAsItGoes) {
  SessionWorld world({.devices = 12, .dropout_fraction = 0.17});
  world.to_server = [&](WorldDevice& from, v1::SecaggDeviceMessage& message) {
    if (&from == &world.device(kVictim) && message.has_unmask()) {
      MemberEntries shares = SharesIn(message.unmask());
      shares.erase(shares.begin(), std::next(shares.begin(), 8));
      PutShares(shares, *message.mutable_unmask());
    }
    return true;
  };
  world.Run();
  world.ExpectExactSum();
}

TEST(DeviceMessageTest, WrongSharesAreFoundAndOthersUsed) {
  SessionWorld world(
      {.devices = 40, .dropout_fraction = 0.1, .graph = GraphKind::kFull});
  world.device(30).stops_before = Step::kMaskedInput;
  world.to_server = [&](WorldDevice& from, v1::SecaggDeviceMessage& message) {
    if ((&from == &world.device(1) || &from == &world.device(2)) &&
        message.has_unmask()) {
      MemberEntries shares = SharesIn(message.unmask());
      for (auto& [member, share] : shares) share.front() ^= 1;
      PutShares(shares, *message.mutable_unmask());
    }
    return true;
  };
  world.Run();
  world.ExpectExactSum();
  // Both were found with the first seed, and asked last from then on: liars
  // among the first holders do not make all other seeds dear.
  EXPECT_EQ(world.finished[0].counters.wrong_shares, 2);
  EXPECT_EQ(world.finished[0].counters.seeds_decoded, 1);
}

// Each lies about somebody else only, so that none is known before: a seed is
// dear for each liar, and not more.
TEST(DeviceMessageTest, EachLiarCostsOneDearSeed) {
  SessionWorld world(
      {.devices = 40, .dropout_fraction = 0.1, .graph = GraphKind::kFull});
  world.to_server = [&](WorldDevice& from, v1::SecaggDeviceMessage& message) {
    for (uint32_t liar = 0; liar < 3; ++liar) {
      if (&from != &world.device(static_cast<int>(liar)) ||
          !message.has_unmask()) {
        continue;
      }
      MemberEntries shares = SharesIn(message.unmask());
      for (auto& [member, share] : shares) {
        if (member >= 10 * (liar + 1)) share.front() ^= 1;
      }
      PutShares(shares, *message.mutable_unmask());
    }
    return true;
  };
  world.Run();
  world.ExpectExactSum();
  EXPECT_EQ(world.finished[0].counters.seeds_decoded, 3);
}

TEST(DeviceMessageTest, TooManyWrongSharesGiveNoSum) {
  SessionWorld world({.devices = 20});
  world.to_server = [&](WorldDevice& from, v1::SecaggDeviceMessage& message) {
    if (from.id < world.device(10).id && message.has_unmask()) {
      MemberEntries shares = SharesIn(message.unmask());
      for (auto& [member, share] : shares) share.front() ^= 1;
      PutShares(shares, *message.mutable_unmask());
    }
    return true;
  };
  world.Run();
  EXPECT_THAT(world.finished, SizeIs(0));
  ASSERT_THAT(world.aborted, SizeIs(1));
  EXPECT_THAT(world.aborted[0].reason.message(), HasSubstr("shares of device"));
}

TEST(DeviceMessageTest, AMaskedInputOfTheWrongSizeOrModulusIsRefused) {
  const std::vector<std::function<void(std::string&)>> damages = {
      [](std::string& bytes) { bytes.clear(); },
      [](std::string& bytes) { bytes.pop_back(); },
      [](std::string& bytes) { bytes.push_back('\0'); },
      // As if each coordinate took 32 bits and not 20.
      [](std::string& bytes) { bytes.resize(bytes.size() * 32 / 20); },
      // Bits behind the last coordinate of the first section (99 · 20 bits).
      [](std::string& bytes) { bytes[247] |= static_cast<char>(0x80); }};
  for (const auto& damage : damages) {
    SessionWorld world({.devices = 12,
                        .dropout_fraction = 0.17,
                        .sections = {{99, 20}, {5, 32}}});
    world.upload = [&](WorldDevice& from, std::string& bytes) {
      if (&from == &world.device(kVictim)) damage(bytes);
      return true;
    };
    world.Run();
    world.ExpectExactSum();
    ASSERT_FALSE(world.refused.empty());
    EXPECT_THAT(world.refused[0].second,
                StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(world.finished[0].counted, SizeIs(11));
  }
}

TEST(DeviceMessageTest, ASecondMaskedInputIsRefusedAndTheSameIsNot) {
  SessionWorld world({.devices = 10});
  std::vector<absl::StatusCode> codes;
  world.upload = [&](WorldDevice& from, std::string& bytes) {
    if (&from != &world.device(kVictim)) return true;
    const auto put = [&](const std::string& content) {
      codes.push_back(world.server()
                          .OnMaskedInput(world.now(), DeviceId(from.id),
                                         world.server().group(0)->session(),
                                         Sha256Of(content), content)
                          .status.code());
    };
    put(bytes);
    put(bytes);
    std::string other = bytes;
    other[0] ^= 1;
    put(other);
    return false;
  };
  world.Run();
  world.ExpectExactSum();
  EXPECT_THAT(codes, ::testing::ElementsAre(absl::StatusCode::kOk,
                                            absl::StatusCode::kOk,
                                            absl::StatusCode::kAlreadyExists));
}

TEST(OrderTest, EverythingRepeatedChangesNothing) {
  SessionWorld world({.devices = 10});
  world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
    if (!message.has_outcome()) world.Deliver(to, message);
    return true;
  };
  world.to_server = [&](WorldDevice& from, v1::SecaggDeviceMessage& message) {
    const ServerReaction again =
        world.server().OnMessage(world.now(), DeviceId(from.id), message);
    world.Handle(again.effects);
    return true;
  };
  world.Run();
  world.ExpectExactSum();
  EXPECT_THAT(world.finished, SizeIs(1));
  EXPECT_THAT(world.finished[0].counted, SizeIs(10));
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(world.device(i).finished->outcome, Outcome::kCounted);
    for (const UploadMaskedInput& upload : world.device(i).uploads) {
      EXPECT_EQ(*upload.bytes, *world.device(i).uploads[0].bytes);
    }
  }
}

// Every message instead of every other one.
TEST(OrderTest, AMessageOutOfOrderEndsTheSessionOfTheDevice) {
  const std::vector<v1::SecaggServerMessage> messages = HonestServerMessages();
  ASSERT_THAT(messages, SizeIs(6));
  for (size_t at = 0; at < 5; ++at) {
    for (size_t instead = 0; instead < 5; ++instead) {
      if (at == instead) continue;
      SessionWorld world({.devices = 10, .sections = {{9, 20}}});
      std::vector<v1::SecaggServerMessage> seen;
      world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
        if (&to != &world.device(kVictim)) return true;
        seen.push_back(message);
        if (seen.size() == at + 1) {
          // A repetition is answered again; what comes from another session,
          // or too early, is not.
          if (instead < at) world.Deliver(to, seen[instead]);
          message = messages[instead];
        }
        return true;
      };
      world.Run();
      ASSERT_TRUE(world.device(kVictim).finished.has_value());
      EXPECT_EQ(world.device(kVictim).finished->outcome, Outcome::kLeft)
          << at << " " << instead;
    }
  }
}

TEST(OrderTest, MessagesOfStrangersAndOfOtherRoundsAreRefused) {
  SessionWorld world({.devices = 10});
  world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
    if (&to != &world.device(0) || message.has_outcome()) return true;
    v1::SecaggDeviceMessage stray;
    stray.mutable_unmask()->set_session("x");
    EXPECT_FALSE(world.server()
                     .OnMessage(world.now(), DeviceId("nobody"), stray)
                     .status.ok());
    EXPECT_FALSE(world.server()
                     .OnMessage(world.now(), DeviceId("nobody"), {})
                     .status.ok());
    EXPECT_FALSE(world.server()
                     .OnMaskedInput(world.now(), DeviceId("nobody"), {}, {}, "")
                     .status.ok());
    if (!message.has_signatures()) {
      EXPECT_FALSE(
          world.server()
              .OnMessage(world.now(), DeviceId(world.device(3).id), stray)
              .status.ok());
    }
    return true;
  };
  world.Run();
  world.ExpectExactSum();
  EXPECT_THAT(world.finished[0].counted, SizeIs(10));
}

TEST(JournalTest, ADamagedJournalIsDataLoss) {
  SessionWorld world({.devices = 10});
  world.device(0).journal = "\xff\xff\xff";
  EXPECT_THAT(world.MakeClient(world.device(0)),
              StatusIs(absl::StatusCode::kDataLoss));
}

// Any prefix of a real journal: an error or a client, never more.
TEST(JournalTest, PrefixesOfAJournalAreSurvived) {
  SessionWorld world({.devices = 10});
  std::string journal;
  std::shared_ptr<const std::string> masked_input;
  world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
    if (&to == &world.device(kVictim) && message.has_signatures()) {
      journal = to.journal;
      masked_input = to.masked_input;
    }
    return true;
  };
  world.Run();
  ASSERT_GT(journal.size(), 1000u);
  WorldDevice& device = world.device(kVictim);
  for (size_t size = 0; size < journal.size(); size += 37) {
    device.journal = journal.substr(0, size);
    device.masked_input = masked_input;
    world.Restart(device).IgnoreError();
  }
}

}  // namespace
}  // namespace mledge::secagg
