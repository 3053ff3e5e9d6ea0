#include "mledge/aggregation/secagg/directory.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "mledge/aggregation/secagg/keyed_stream.h"
#include "mledge/aggregation/secagg/parameters.h"
#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

// Points of X25519 whose agreements are all zero, little-endian, without the
// top bit, which is ignored (RFC 7748). An agreement refuses them as well; here
// they are kept out of the directory, so that one bad device does not cost its
// neighbours the session.
constexpr std::array<std::string_view, 7> kSmallOrderHex = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"};

bool IsOfSmallOrder(const AgreementPublicKey& key) {
  static const auto& points = *new std::array<std::string, 7>([] {
    std::array<std::string, 7> bytes;
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = Digest::FromHex(kSmallOrderHex[i])->ToBytes();
    }
    return bytes;
  }());
  if (key.suite() != AgreementSuite::kX25519) return false;
  std::string point = key.encoded().substr(1);
  point.back() = static_cast<char>(point.back() & 0x7f);
  return std::find(points.begin(), points.end(), point) != points.end();
}

absl::Status Malformed(std::string_view what, std::string_view why) {
  return absl::InvalidArgumentError(StrCat(what, ": ", why));
}

absl::Status CheckGroup(const GroupParameters& group) {
  if (group.devices < kFewestClients) {
    return Malformed("directory", StrCat("a group of ", group.devices,
                                         " devices is too small"));
  }
  if (group.neighbors < 1 || group.neighbors >= group.devices ||
      (!group.full_graph() && group.neighbors % 2 != 0)) {
    return Malformed("directory",
                     StrCat(group.neighbors, " neighbors among ", group.devices,
                            " devices are no graph"));
  }
  if (group.threshold < 1 || group.threshold > group.neighbors) {
    return Malformed("directory",
                     StrCat("threshold ", group.threshold, " with ",
                            group.neighbors, " neighbors"));
  }
  if (group.least_alive < 1 || group.least_alive > group.devices) {
    return Malformed("directory", StrCat("least alive ", group.least_alive,
                                         " of ", group.devices, " devices"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Leaf> Leaf::Parse(std::string_view bytes, const Offer& offer) {
  v1::SignedSecaggLeaf outer;
  MLEDGE_RETURN_IF_ERROR(ParseExactly("leaf", bytes, kMaximumLeafSize, outer));
  v1::SecaggLeaf inner;
  MLEDGE_RETURN_IF_ERROR(
      ParseExactly("leaf", outer.leaf(), kMaximumLeafSize, inner));
  if (inner.certificates().empty()) return Malformed("leaf", "no certificate");
  MLEDGE_ASSIGN_OR_RETURN(
      AgreementPublicKey mask_key,
      AgreementPublicKey::Parse(inner.mask_public_key(), offer.agreement));
  MLEDGE_ASSIGN_OR_RETURN(
      AgreementPublicKey transport_key,
      AgreementPublicKey::Parse(inner.transport_public_key(), offer.agreement));
  if (mask_key == transport_key) {
    return Malformed("leaf", "the mask key is also the transport key");
  }
  if (IsOfSmallOrder(mask_key) || IsOfSmallOrder(transport_key)) {
    return Malformed("leaf", "a public key of small order");
  }
  const absl::StatusOr<Digest> commitment =
      Digest::FromBytes(inner.self_mask_commitment());
  if (!commitment.ok()) {
    return Malformed("leaf", "the commitment to the self-mask is no SHA-256");
  }
  if (!offer.AllowsBaseVersion(inner.base_version())) {
    return Malformed("leaf", StrCat("base version ", inner.base_version(),
                                    ", where the session is about version ",
                                    offer.current_version(), " and at most ",
                                    offer.maximum_staleness, " before it"));
  }
  return Leaf{.bytes = std::string(bytes),
              .signed_bytes = SignedBytes(kLeafContext,
                                          {offer.hash.ToBytes(), outer.leaf()}),
              .signature = outer.signature(),
              .certificates = {inner.certificates().begin(),
                               inner.certificates().end()},
              .mask_key = std::move(mask_key),
              .transport_key = std::move(transport_key),
              .self_mask_commitment = *commitment,
              .base_version = inner.base_version()};
}

absl::StatusOr<Directory> Directory::Parse(std::string_view bytes) {
  v1::SecaggDirectory message;
  MLEDGE_RETURN_IF_ERROR(
      ParseExactly("directory", bytes, kMaximumDirectorySize, message));
  Directory directory;
  const absl::StatusOr<Digest> offer =
      Digest::FromBytes(message.offer_sha256());
  const absl::StatusOr<Digest> root = Digest::FromBytes(message.merkle_root());
  if (!offer.ok() || !root.ok()) {
    return Malformed("directory", "the offer's hash or the root is no SHA-256");
  }
  directory.offer_hash = *offer;
  directory.merkle_root = *root;
  directory.devices = message.devices();
  directory.groups = message.groups();
  if (directory.devices < kFewestClients || directory.devices > kMostClients ||
      directory.groups < 1 || directory.groups > directory.devices) {
    return Malformed("directory", StrCat(directory.devices, " devices in ",
                                         directory.groups, " groups"));
  }
  const uint32_t smaller = directory.devices / directory.groups;
  const uint32_t larger_groups = directory.devices % directory.groups;
  if (message.parameters_size() != (larger_groups == 0 ? 1 : 2)) {
    return Malformed("directory", StrCat(message.parameters_size(),
                                         " sets of parameters, but groups of ",
                                         larger_groups == 0 ? 1 : 2, " sizes"));
  }
  for (const v1::SecaggGroupParameters& group : message.parameters()) {
    const bool larger = larger_groups != 0 && directory.parameters.empty();
    directory.parameters.push_back({group.devices(), group.neighbors(),
                                    group.threshold(), group.least_alive()});
    if (group.devices() != smaller + (larger ? 1 : 0)) {
      return Malformed("directory",
                       "a group's size is not that of equal groups");
    }
    MLEDGE_RETURN_IF_ERROR(CheckGroup(directory.parameters.back()));
  }
  uint64_t counted = 0;
  if (message.versions_size() > static_cast<int>(kMaximumStaleness) + 1) {
    return Malformed("directory", "too many base versions");
  }
  for (const v1::SecaggVersionCount& count : message.versions()) {
    if (count.devices() == 0 ||
        (!directory.versions.empty() &&
         count.version() <= directory.versions.back().first)) {
      return Malformed("directory", "base versions are not in order");
    }
    counted += count.devices();
    directory.versions.emplace_back(count.version(), count.devices());
  }
  if (counted != directory.devices) {
    return Malformed("directory",
                     StrCat("base versions of ", counted,
                            " devices, where there are ", directory.devices));
  }
  directory.bytes = bytes;
  directory.hash = Sha256Of(bytes);
  return directory;
}

absl::StatusOr<Directory> Directory::Make(const v1::SecaggDirectory& message) {
  return Parse(message.SerializeAsString());
}

std::vector<std::vector<uint32_t>> DivideIntoGroups(uint32_t devices,
                                                    uint32_t groups,
                                                    std::string_view witness) {
  std::vector<uint32_t> order(devices);
  std::iota(order.begin(), order.end(), 0);
  if (groups > 1) {
    const Digest seed = Sha256Of(witness);
    KeyedStream stream(seed.bytes, "groups of a cohort");
    for (uint32_t i = devices - 1; i > 0; --i) {
      std::swap(order[i], order[stream.UniformBelow(i + 1)]);
    }
  }
  std::vector<std::vector<uint32_t>> result(groups);
  auto next = order.begin();
  for (uint32_t group = 0; group < groups; ++group) {
    const uint32_t size = devices / groups + (group < devices % groups ? 1 : 0);
    result[group].assign(next, next + size);
    next += size;
    std::sort(result[group].begin(), result[group].end());
  }
  return result;
}

absl::StatusOr<NeighborGraph> GraphOfGroup(const GroupParameters& parameters,
                                           uint32_t group,
                                           std::string_view witness) {
  return NeighborGraph::ForSession(parameters.devices, parameters.neighbors,
                                   Sha256()
                                       .UpdateField("mledge/v1/secagg/graph")
                                       .UpdateField(witness)
                                       .UpdateU64(group)
                                       .Finish());
}

}  // namespace mledge::secagg
