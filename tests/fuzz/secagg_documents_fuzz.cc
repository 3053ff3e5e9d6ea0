#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "mledge/aggregation/secagg/directory.h"
#include "mledge/aggregation/secagg/key_agreement.h"
#include "mledge/aggregation/secagg/member_set.h"
#include "mledge/aggregation/secagg/merkle.h"
#include "mledge/aggregation/secagg/modular.h"
#include "mledge/aggregation/secagg/offer.h"
#include "mledge/aggregation/secagg/shamir.h"
#include "mledge/aggregation/secagg/share_box.h"
#include "mledge/core/logging.h"
#include "mledge/tests/aggregation/secagg/test_random.h"

// Bytes from outside as an offer, a leaf, a directory, a set of members, a path
// in the directory's tree, a key, a box, a share and a packed vector. What is
// accepted has one spelling, so that equal values have equal hashes, and its
// numbers are safe to compute with.

namespace mledge::secagg {
namespace {

const Offer& SomeOffer() {
  static const Offer offer = [] {
    Offer made;
    made.version_log.length = 5;
    made.maximum_staleness = 2;
    made.entries.resize(3);
    return made;
  }();
  return offer;
}

void FuzzParts(std::string_view bytes) {
  static CountingRandom* const kRandom = new CountingRandom(1);
  if (const auto path = ParsePath(bytes); path.ok()) {
    const std::string written = SerializePath(*path);
    CHECK(SerializePath(*ParsePath(written)) == written);
    CHECK(!VerifyInclusion({}, 5, {{1, 5}}, 3, {.id = "d"}, *path).ok());
  }
  if (const auto key =
          AgreementPublicKey::Parse(bytes, AgreementSuite::kX25519);
      key.ok()) {
    CHECK(key->encoded() == bytes);
    auto own = AgreementKeyPair::FromSeed(AgreementSuite::kX25519,
                                          MaskSeed::Generate(*kRandom),
                                          KeyRole::kTransport);
    if (auto secret = own->Agree(*key); secret.ok()) {
      const ShareBoxKeys keys = secret->DeriveShareBoxKeys({.peer_index = 1});
      CHECK(!OpenShares(CipherSuite::kAes128Ctr, keys.open, {}, bytes).ok());
    }
  }
  if (const auto share = ParseShareValue(bytes); share.ok()) {
    const auto read = share->bytes(RevealSecret());
    CHECK(std::equal(
        read.begin(), read.end(), bytes.begin(), bytes.end(),
        [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); }));
  }
  if (bytes.empty()) return;
  const auto modulus = Modulus::Create(static_cast<uint8_t>(bytes[0]) % 40);
  if (!modulus.ok()) return;
  const int64_t length =
      static_cast<int64_t>(bytes.size() - 1) * 8 / modulus->bits();
  auto vector = ModularVector::Create(*modulus, length);
  if (vector.ok() && vector->UnpackAndAdd(bytes.substr(1)).ok()) {
    CHECK(vector->Pack() == bytes.substr(1));
  }
}

void FuzzOne(std::string_view bytes) {
  if (const auto offer = Offer::Parse(bytes); offer.ok()) {
    v1::SecaggOffer message;
    CHECK(message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
    CHECK(Offer::Make(message)->hash == offer->hash);
    CHECK(offer->masked_input_size() > 0);
    CHECK(offer->AllowsBaseVersion(offer->current_version()));
    (void)offer->EntryOf(offer->current_version());
  }
  if (const auto directory = Directory::Parse(bytes); directory.ok()) {
    uint64_t devices = 0;
    for (uint32_t i = 0; i < std::min(directory->groups, 100u); ++i) {
      devices += directory->ParametersOf(i).devices;
    }
    CHECK(directory->groups > 100 || devices == directory->devices);
    if (directory->devices <= 1000) {
      const auto groups =
          DivideIntoGroups(directory->devices, directory->groups, "witness");
      for (uint32_t i = 0; i < groups.size(); ++i) {
        CHECK(groups[i].size() == directory->ParametersOf(i).devices);
        const auto graph = GraphOfGroup(directory->ParametersOf(i), i, "w");
        CHECK(graph.ok()) << graph.status();
      }
    }
  }
  if (const auto leaf = Leaf::Parse(bytes, SomeOffer()); leaf.ok()) {
    CHECK(leaf->bytes == bytes);
    CHECK(!leaf->certificates.empty());
  }
  if (!bytes.empty()) {
    const auto members = static_cast<uint8_t>(bytes[0]);
    const auto set = MemberSet::FromBytes("fuzzed", bytes.substr(1), members);
    if (set.ok()) {
      MemberSet again(members);
      for (const uint32_t member : set->ToVector()) again.Insert(member);
      CHECK(again == *set && again.Count() == set->Count());
    }
  }
  FuzzParts(bytes);
}

}  // namespace
}  // namespace mledge::secagg

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mledge::secagg::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
