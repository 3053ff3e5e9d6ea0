#include "mledge/aggregation/secagg/key_agreement.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <utility>

#include "mledge/aggregation/secagg/hkdf.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

constexpr size_t kX25519Size = 32;

absl::Status CheckBuilt(AgreementSuite suite) {
  return AgreementSuiteFromNumber(static_cast<uint32_t>(suite)).status();
}

std::string Encode(AgreementSuite suite, std::span<const uint8_t> key) {
  std::string encoded(1, static_cast<char>(suite));
  encoded.append(reinterpret_cast<const char*>(key.data()), key.size());
  return encoded;
}

}  // namespace

absl::StatusOr<AgreementPublicKey> AgreementPublicKey::Parse(
    std::string_view encoded, AgreementSuite expected) {
  MLEDGE_RETURN_IF_ERROR(CheckBuilt(expected));
  if (encoded.empty()) {
    return absl::InvalidArgumentError("the public key is empty");
  }
  const auto number = static_cast<uint8_t>(encoded[0]);
  if (number != static_cast<uint8_t>(expected)) {
    return absl::InvalidArgumentError(
        StrCat("a public key of suite ", int{number}, " in a session of suite ",
               static_cast<int>(expected), " (", ToString(expected), ")"));
  }
  const std::string_view key = encoded.substr(1);
  if (key.size() != kX25519Size) {
    return absl::InvalidArgumentError(StrCat("a public key of ", key.size(),
                                             " bytes; ", ToString(expected),
                                             " has ", kX25519Size));
  }
  return AgreementPublicKey(expected, std::string(encoded));
}

void SharedSecret::Derive(const PairContext& context, std::string_view purpose,
                          std::span<uint8_t> out) const {
  const auto [low, high] = std::minmax(context.own_index, context.peer_index);
  const PseudorandomKey key = HkdfExtract({}, secret_.bytes(RevealSecret()));
  HkdfExpand(key.bytes(RevealSecret()),
             HkdfInfo("pair")
                 .AddBytes(context.session.ToBytes())
                 .AddNumber(low)
                 .AddNumber(high)
                 .AddBytes(purpose)
                 .view(),
             out);
}

MaskSeed SharedSecret::DeriveMaskSeed(const PairContext& context) const {
  WipingBytes<kMaskSeedSize> seed;
  Derive(context, "mask", seed.mutable_bytes(RevealSecret()));
  return MaskSeed(std::move(seed));
}

ShareBoxKeys SharedSecret::DeriveShareBoxKeys(
    const PairContext& context) const {
  // First the key for boxes that go from the smaller index to the larger.
  WipingBytes<64> both;
  Derive(context, "share box", both.mutable_bytes(RevealSecret()));
  const auto bytes = both.bytes(RevealSecret());
  ShareBoxKeys keys;
  const bool own_is_lower = context.own_index < context.peer_index;
  ShareBoxKey& upward = own_is_lower ? keys.seal : keys.open;
  ShareBoxKey& downward = own_is_lower ? keys.open : keys.seal;
  std::copy_n(bytes.begin(), 32, upward.mutable_bytes(RevealSecret()).begin());
  std::copy_n(bytes.begin() + 32, 32,
              downward.mutable_bytes(RevealSecret()).begin());
  return keys;
}

struct AgreementKeyPair::State {
  ~State() {
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(peer);
    EVP_PKEY_free(key);
  }

  EVP_PKEY* key = nullptr;
  EVP_PKEY_CTX* context = nullptr;
  // Takes the bytes of one peer's public key after the other: making a key of
  // OpenSSL's for each would cost a tenth of an agreement.
  EVP_PKEY* peer = nullptr;
};

AgreementKeyPair::AgreementKeyPair(AgreementPublicKey public_key,
                                   std::unique_ptr<State> state)
    : public_key_(std::move(public_key)), state_(std::move(state)) {}
AgreementKeyPair::~AgreementKeyPair() = default;
AgreementKeyPair::AgreementKeyPair(AgreementKeyPair&&) noexcept = default;
AgreementKeyPair& AgreementKeyPair::operator=(AgreementKeyPair&&) noexcept =
    default;

absl::StatusOr<AgreementKeyPair> AgreementKeyPair::FromSeed(
    AgreementSuite suite, const MaskSeed& seed, KeyRole role) {
  MLEDGE_RETURN_IF_ERROR(CheckBuilt(suite));
  WipingBytes<kX25519Size> private_bytes;
  HkdfExpand(seed.bytes(RevealSecret()),
             HkdfInfo("key pair")
                 .AddNumber(static_cast<uint64_t>(suite))
                 .AddNumber(static_cast<uint64_t>(role))
                 .view(),
             private_bytes.mutable_bytes(RevealSecret()));
  auto state = std::make_unique<State>();
  state->key = EVP_PKEY_new_raw_private_key(
      EVP_PKEY_X25519, nullptr, private_bytes.bytes(RevealSecret()).data(),
      kX25519Size);
  CHECK(state->key != nullptr) << "OpenSSL cannot make an X25519 key";
  state->context = EVP_PKEY_CTX_new(state->key, nullptr);
  CHECK(state->context != nullptr && EVP_PKEY_derive_init(state->context) == 1)
      << "OpenSSL cannot agree with X25519";
  std::array<uint8_t, kX25519Size> public_bytes;
  size_t size = public_bytes.size();
  CHECK(EVP_PKEY_get_raw_public_key(state->key, public_bytes.data(), &size) ==
            1 &&
        size == kX25519Size)
      << "OpenSSL does not tell an X25519 public key";
  state->peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr,
                                            public_bytes.data(), kX25519Size);
  CHECK(state->peer != nullptr) << "OpenSSL cannot make an X25519 key";
  return AgreementKeyPair(
      AgreementPublicKey(suite, Encode(suite, public_bytes)), std::move(state));
}

absl::StatusOr<SharedSecret> AgreementKeyPair::Agree(
    const AgreementPublicKey& peer) {
  if (peer.suite() != public_key_.suite()) {
    return absl::InvalidArgumentError(
        StrCat("the peer's public key is of ", ToString(peer.suite()),
               ", the own one of ", ToString(public_key_.suite())));
  }
  WipingBytes<kX25519Size> secret;
  const auto bytes = secret.mutable_bytes(RevealSecret());
  size_t size = bytes.size();
  const std::string_view point = std::string_view(peer.encoded()).substr(1);
  // Any 32 bytes are a point for X25519: there is nothing to validate first.
  const bool derived =
      EVP_PKEY_set1_encoded_public_key(
          state_->peer, reinterpret_cast<const uint8_t*>(point.data()),
          point.size()) == 1 &&
      EVP_PKEY_derive_set_peer_ex(state_->context, state_->peer,
                                  /*validate_peer=*/0) == 1 &&
      EVP_PKEY_derive(state_->context, bytes.data(), &size) == 1;
  uint8_t any_bit = 0;
  for (const uint8_t byte : bytes) any_bit |= byte;
  // OpenSSL refuses a zero output as well; this does not rely on it.
  if (!derived || size != kX25519Size || any_bit == 0) {
    ERR_clear_error();
    return absl::InvalidArgumentError(
        "the peer's public key is a point of small order: nothing secret can "
        "be agreed on with it");
  }
  return SharedSecret(std::move(secret));
}

}  // namespace mledge::secagg
