#ifndef MLEDGE_TESTS_AGGREGATION_SECAGG_MEMBER_ENTRIES_H_
#define MLEDGE_TESTS_AGGREGATION_SECAGG_MEMBER_ENTRIES_H_

#include <cstdint>
#include <map>
#include <string>

#include "mledge/aggregation/secagg/share_box.h"
#include "mledge/v1/secure_aggregation.pb.h"

// Boxes and shares by member, so that a test can change one of them.

namespace mledge::secagg {

using MemberEntries = std::map<uint32_t, std::string>;

inline MemberEntries EntriesOf(
    const google::protobuf::RepeatedField<uint32_t>& members,
    const std::string& bytes, size_t size) {
  MemberEntries entries;
  for (int i = 0; i < members.size(); ++i) {
    entries[members[i]] = bytes.substr(i * size, size);
  }
  return entries;
}

inline MemberEntries BoxesIn(const v1::SecaggBoxesMessage& message) {
  return EntriesOf(message.senders(), message.boxes(), kShareBoxSize);
}

inline void PutBoxes(const MemberEntries& boxes,
                     v1::SecaggBoxesMessage& message) {
  message.clear_senders();
  message.clear_boxes();
  for (const auto& [sender, box] : boxes) {
    message.add_senders(sender);
    *message.mutable_boxes() += box;
  }
}

inline MemberEntries SharesIn(const v1::SecaggUnmask& message) {
  return EntriesOf(message.members(), message.shares(), kShareValueSize);
}

inline void PutShares(const MemberEntries& shares, v1::SecaggUnmask& message) {
  message.clear_members();
  message.clear_shares();
  for (const auto& [member, share] : shares) {
    message.add_members(member);
    *message.mutable_shares() += share;
  }
}

}  // namespace mledge::secagg

#endif  // MLEDGE_TESTS_AGGREGATION_SECAGG_MEMBER_ENTRIES_H_
