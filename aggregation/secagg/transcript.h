#ifndef MLEDGE_AGGREGATION_SECAGG_TRANSCRIPT_H_
#define MLEDGE_AGGREGATION_SECAGG_TRANSCRIPT_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/message.h"
#include "mledge/core/sha256.h"

// The words over which both ends of a session must agree: what signatures
// cover, which session this is, and how bytes from outside become messages.

namespace mledge::secagg {

inline constexpr std::string_view kLeafContext = "leaf";
inline constexpr std::string_view kSetsContext = "sets";

// What a device signs: see secure_aggregation.proto.
std::string SignedBytes(std::string_view context,
                        std::initializer_list<std::string_view> fields);

// H(offer ‖ directory), with the group that the session is for. Every key of
// the session is derived with it.
Digest SessionId(std::string_view offer, std::string_view directory,
                 uint32_t group);

// What the registrar witnesses of who is alive and who is dead: see
// SetsStatement in witness.proto. `alive` and `dead` as MemberSet has them.
Digest SetsHash(const Digest& session, uint32_t group, std::string_view alive,
                std::string_view dead);

// Reads `bytes` as exactly one message. INVALID_ARGUMENT, naming `what`: larger
// than `limit_in_bytes`, malformed, unknown fields, or not the serialization
// that this program would write (so that equal values have equal hashes).
absl::Status ParseExactly(std::string_view what, std::string_view bytes,
                          size_t limit_in_bytes,
                          google::protobuf::Message& message);

// OK unless `message` or one inside it has fields that this version does not
// know. INVALID_ARGUMENT names `what`.
absl::Status RefuseUnknownFields(std::string_view what,
                                 const google::protobuf::Message& message);

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_TRANSCRIPT_H_
