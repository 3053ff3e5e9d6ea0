#ifndef MLEDGE_AGGREGATION_SECAGG_KEY_AGREEMENT_H_
#define MLEDGE_AGGREGATION_SECAGG_KEY_AGREEMENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "mledge/aggregation/secagg/mask_seed.h"
#include "mledge/aggregation/secagg/suite.h"
#include "mledge/aggregation/secagg/wiping_bytes.h"
#include "mledge/core/sha256.h"

// Two key pairs a member and session: the mask key, whose seed is
// secret-shared, so that the server can rebuild the masks of a member that was
// lost; and the transport key, under which shares travel and which is never
// shared. Both come from a MaskSeed of their own. What two members agree on
// goes through HKDF with the session and the pair before anything uses it.

namespace mledge::secagg {

// Keeps apart what is derived from a seed, in case that one seed is ever used
// for both by mistake.
enum class KeyRole : uint8_t { kMask = 1, kTransport = 2 };

// A public key of a suite, of the right length. A value.
class AgreementPublicKey {
 public:
  // `encoded` is the suite's number in one byte, then the key; its length
  // depends on the suite. INVALID_ARGUMENT: empty, another suite than
  // `expected`, wrong length. Points of small order are refused when they are
  // used, because only the output tells.
  static absl::StatusOr<AgreementPublicKey> Parse(std::string_view encoded,
                                                  AgreementSuite expected);

  AgreementSuite suite() const { return suite_; }
  const std::string& encoded() const { return encoded_; }
  bool operator==(const AgreementPublicKey& other) const {
    return encoded_ == other.encoded_;
  }

 private:
  friend class AgreementKeyPair;
  AgreementPublicKey(AgreementSuite suite, std::string encoded)
      : suite_(suite), encoded_(std::move(encoded)) {}

  AgreementSuite suite_;
  std::string encoded_;
};

// Who agrees, in which session. Every derived key depends on all of it; the
// pair is sorted, so that both members derive the same.
struct PairContext {
  Digest session;  // H(offer ‖ directory)
  uint32_t own_index = 0;
  uint32_t peer_index = 0;
};

using ShareBoxKey = WipingBytes<32>;

// For one pair: the key under which the own member seals, and the one with
// which it opens what the peer sealed.
struct ShareBoxKeys {
  ShareBoxKey seal;
  ShareBoxKey open;
};

// The output of a key agreement, which is no key yet. Wiped when it dies.
class SharedSecret {
 public:
  SharedSecret(SharedSecret&&) = default;
  SharedSecret& operator=(SharedSecret&&) = default;

  // The seed of the mask that the pair shares; of a secret of mask keys.
  MaskSeed DeriveMaskSeed(const PairContext& context) const;
  // One key per direction; of a secret of transport keys.
  ShareBoxKeys DeriveShareBoxKeys(const PairContext& context) const;

 private:
  friend class AgreementKeyPair;
  explicit SharedSecret(WipingBytes<32> secret) : secret_(std::move(secret)) {}
  void Derive(const PairContext& context, std::string_view purpose,
              std::span<uint8_t> out) const;

  WipingBytes<32> secret_;
};

// Not thread-safe (it uses OpenSSL's objects again); make one a thread from the
// same seed where that pays.
class AgreementKeyPair {
 public:
  // The same seed and role give the same pair: the server rebuilds a lost
  // member's key from its reconstructed seed and compares the public key with
  // the leaf's. UNIMPLEMENTED: a suite that is reserved.
  static absl::StatusOr<AgreementKeyPair> FromSeed(AgreementSuite suite,
                                                   const MaskSeed& seed,
                                                   KeyRole role);
  ~AgreementKeyPair();
  AgreementKeyPair(AgreementKeyPair&&) noexcept;
  AgreementKeyPair& operator=(AgreementKeyPair&&) noexcept;

  const AgreementPublicKey& public_key() const { return public_key_; }

  // INVALID_ARGUMENT: the peer's key is of another suite, or of small order
  // (the output would be zero).
  absl::StatusOr<SharedSecret> Agree(const AgreementPublicKey& peer);

 private:
  struct State;
  AgreementKeyPair(AgreementPublicKey public_key, std::unique_ptr<State> state);

  AgreementPublicKey public_key_;
  std::unique_ptr<State> state_;
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_KEY_AGREEMENT_H_
