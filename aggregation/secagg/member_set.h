#ifndef MLEDGE_AGGREGATION_SECAGG_MEMBER_SET_H_
#define MLEDGE_AGGREGATION_SECAGG_MEMBER_SET_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

// A set of members of a session, as it travels and is signed: one bit a
// member, from the lowest bit of the first byte. A value; equal sets have equal
// bytes.

namespace mledge::secagg {

class MemberSet {
 public:
  explicit MemberSet(uint32_t members = 0);
  // INVALID_ARGUMENT, naming `what`: wrong length, or a bit behind the last
  // member.
  static absl::StatusOr<MemberSet> FromBytes(std::string_view what,
                                             std::string_view bytes,
                                             uint32_t members);

  // Preconditions: `member` below `members()`.
  void Insert(uint32_t member);
  bool Contains(uint32_t member) const;

  uint32_t members() const { return members_; }
  uint32_t Count() const;
  bool Intersects(const MemberSet& other) const;
  std::vector<uint32_t> ToVector() const;  // ascending
  const std::string& bytes() const { return bytes_; }
  bool operator==(const MemberSet&) const = default;

 private:
  uint32_t members_ = 0;
  std::string bytes_;
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_MEMBER_SET_H_
