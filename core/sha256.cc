#include "mledge/core/sha256.h"

#include <openssl/evp.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "mledge/core/bytes.h"
#include "mledge/core/logging.h"
#include "mledge/core/strings.h"

namespace mledge {

struct Sha256::State {
  State() : context(EVP_MD_CTX_new()) { CHECK(context != nullptr); }
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  EVP_MD_CTX* const context;
};

std::string Digest::ToHex() const { return absl::BytesToHexString(ToBytes()); }

std::string Digest::ToBytes() const {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

absl::StatusOr<Digest> Digest::FromHex(std::string_view hex) {
  constexpr size_t kDigits = 64;
  if (hex.size() != kDigits) {
    return absl::InvalidArgumentError(StrCat("a SHA-256 in hexadecimal has ",
                                             kDigits, " digits, this one has ",
                                             hex.size()));
  }
  for (size_t i = 0; i < hex.size(); ++i) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(hex[i]))) {
      return absl::InvalidArgumentError(StrCat(
          "'", absl::CHexEscape(ToAbslView(hex.substr(i, 1))), "' at position ",
          i, " of a SHA-256 is not a hexadecimal digit"));
    }
  }
  return FromBytes(absl::HexStringToBytes(ToAbslView(hex)));
}

absl::StatusOr<Digest> Digest::FromBytes(std::string_view bytes) {
  Digest digest;
  if (bytes.size() != digest.bytes.size()) {
    return absl::InvalidArgumentError(
        StrCat("a SHA-256 has ", digest.bytes.size(), " bytes, this one has ",
               bytes.size()));
  }
  std::copy(bytes.begin(), bytes.end(), digest.bytes.begin());
  return digest;
}

Sha256::Sha256() : state_(std::make_unique<State>()) {
  // Fetched once a process: a lookup costs more than hashing a short message.
  static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  CHECK(EVP_DigestInit_ex2(state_->context, sha256, nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

Sha256& Sha256::Update(std::span<const uint8_t> bytes) {
  CHECK(state_ != nullptr) << "Sha256 used after Finish";
  CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
  return *this;
}

Sha256& Sha256::Update(std::string_view bytes) {
  return Update(AsBytes(bytes));
}

Sha256& Sha256::UpdateField(std::string_view bytes) {
  return UpdateU64(bytes.size()).Update(bytes);
}

Sha256& Sha256::UpdateU64(uint64_t value) {
  std::array<uint8_t, 8> little_endian;
  for (size_t i = 0; i < little_endian.size(); ++i) {
    little_endian[i] = static_cast<uint8_t>(value >> (8 * i));
  }
  return Update(little_endian);
}

Digest Sha256::Finish() {
  CHECK(state_ != nullptr) << "Sha256 used after Finish";
  Digest digest;
  unsigned int size = 0;
  CHECK(EVP_DigestFinal_ex(state_->context, digest.bytes.data(), &size) == 1);
  CHECK(size == digest.bytes.size());
  state_.reset();
  return digest;
}

Digest Sha256Of(std::string_view bytes) {
  return Sha256().Update(bytes).Finish();
}
Digest Sha256Of(std::span<const uint8_t> bytes) {
  return Sha256().Update(bytes).Finish();
}

}  // namespace mledge
