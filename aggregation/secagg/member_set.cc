#include "mledge/aggregation/secagg/member_set.h"

#include <bit>

#include "mledge/core/logging.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

uint8_t Bit(uint32_t member) { return static_cast<uint8_t>(1u << member % 8); }

}  // namespace

MemberSet::MemberSet(uint32_t members)
    : members_(members), bytes_((size_t{members} + 7) / 8, '\0') {}

absl::StatusOr<MemberSet> MemberSet::FromBytes(std::string_view what,
                                               std::string_view bytes,
                                               uint32_t members) {
  MemberSet set(members);
  if (bytes.size() != set.bytes_.size()) {
    return absl::InvalidArgumentError(
        StrCat("the ", what, " set has ", bytes.size(), " bytes where ",
               members, " members need ", set.bytes_.size()));
  }
  if (members % 8 != 0 &&
      static_cast<uint8_t>(bytes.back()) >> members % 8 != 0) {
    return absl::InvalidArgumentError(
        StrCat("the ", what, " set names members that do not exist"));
  }
  set.bytes_ = bytes;
  return set;
}

void MemberSet::Insert(uint32_t member) {
  CHECK(member < members_);
  bytes_[member / 8] |= static_cast<char>(Bit(member));
}

bool MemberSet::Contains(uint32_t member) const {
  CHECK(member < members_);
  return (static_cast<uint8_t>(bytes_[member / 8]) & Bit(member)) != 0;
}

uint32_t MemberSet::Count() const {
  uint32_t count = 0;
  for (const char byte : bytes_)
    count += std::popcount(static_cast<uint8_t>(byte));
  return count;
}

bool MemberSet::Intersects(const MemberSet& other) const {
  CHECK(members_ == other.members_);
  for (size_t i = 0; i < bytes_.size(); ++i) {
    if ((bytes_[i] & other.bytes_[i]) != 0) return true;
  }
  return false;
}

std::vector<uint32_t> MemberSet::ToVector() const {
  std::vector<uint32_t> members;
  for (uint32_t member = 0; member < members_; ++member) {
    if (Contains(member)) members.push_back(member);
  }
  return members;
}

}  // namespace mledge::secagg
