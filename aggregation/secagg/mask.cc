#include "mledge/aggregation/secagg/mask.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "mledge/aggregation/secagg/hkdf.h"
#include "mledge/aggregation/secagg/internal/lane_kernel.h"
#include "mledge/core/logging.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

using secagg_internal::kMostStreams;

// Bytes of one keystream at a time: large enough that the calls into OpenSSL do
// not show, small enough that those of kMostStreams stay in the second cache.
constexpr size_t kKeystreamSize = 16384;
// Of the vector, at a time: stays in the second cache while all masks pass by.
constexpr int64_t kRangeSize = int64_t{128} << 10;

// A MaskKey's bytes: key, then nonce.
constexpr size_t kNonceOffset = 32;
constexpr size_t kNonceSize = 8;
constexpr size_t kAesKeySize = 16;
constexpr size_t kCounterSize = 16;
constexpr size_t kAesBlock = 16;
constexpr size_t kChaChaBlock = 64;

const EVP_CIPHER* CipherOf(CipherSuite suite) {
  // Fetched once a process: a lookup costs more than expanding a kilobyte.
  static const EVP_CIPHER* const aes =
      EVP_CIPHER_fetch(nullptr, "AES-128-CTR", nullptr);
  static const EVP_CIPHER* const chacha =
      EVP_CIPHER_fetch(nullptr, "ChaCha20", nullptr);
  const EVP_CIPHER* cipher = suite == CipherSuite::kAes128Ctr ? aes : chacha;
  CHECK(cipher != nullptr) << "OpenSSL has no " << ToString(suite);
  return cipher;
}

// What the cipher starts with. Only public numbers are counted up, so that a
// carry tells nothing.
//
// AES: the nonce, then 64 bits of block number, most significant byte first.
std::array<uint8_t, kCounterSize> AesCounter(std::span<const uint8_t> nonce,
                                             uint64_t block) {
  std::array<uint8_t, kCounterSize> counter;
  std::copy_n(nonce.begin(), kNonceSize, counter.begin());
  for (size_t i = 0; i < 8; ++i) {
    counter[kNonceSize + i] = static_cast<uint8_t>(block >> (56 - 8 * i));
  }
  return counter;
}

// ChaCha20: 64 bits of block number, least significant byte first (OpenSSL
// carries beyond its 32), then zeros.
std::array<uint8_t, kCounterSize> ChaChaCounter(uint64_t block) {
  std::array<uint8_t, kCounterSize> counter{};
  std::memcpy(counter.data(), &block, sizeof(block));
  return counter;
}

}  // namespace

MaskKey::MaskKey(CipherSuite suite, const MaskSeed& seed, MaskStream stream)
    : suite_(suite) {
  HkdfInfo info("mask stream");
  info.AddNumber(static_cast<uint64_t>(suite))
      .AddNumber(static_cast<uint64_t>(stream.purpose))
      .AddNumber(stream.section);
  const auto material = material_.mutable_bytes(RevealSecret());
  if (suite == CipherSuite::kChaCha20) {
    // A key that only one stream uses: the nonce is zero.
    HkdfExpand(seed.bytes(RevealSecret()), info.view(),
               material.first<kNonceOffset>());
    return;
  }
  WipingBytes<kAesKeySize + kNonceSize> both;
  HkdfExpand(seed.bytes(RevealSecret()), info.view(),
             both.mutable_bytes(RevealSecret()));
  const auto bytes = both.bytes(RevealSecret());
  std::copy_n(bytes.begin(), kAesKeySize, material.begin());
  std::copy_n(bytes.begin() + kAesKeySize, kNonceSize,
              material.begin() + kNonceOffset);
}

struct MaskExpander::State {
  struct Stream {
    EVP_CIPHER_CTX* context = nullptr;
    const EVP_CIPHER* cipher = nullptr;  // what the context was made for
    alignas(64) std::array<uint8_t, kKeystreamSize> block;
  };

  State() {
    for (Stream& stream : streams) {
      stream.context = EVP_CIPHER_CTX_new();
      CHECK(stream.context != nullptr) << "no memory for a cipher";
    }
  }
  ~State() {
    for (Stream& stream : streams) {
      EVP_CIPHER_CTX_free(stream.context);
      WipeMemory(stream.block);
    }
  }

  void Start(Stream& stream, CipherSuite suite,
             std::span<const uint8_t> material, uint64_t offset) {
    const bool is_aes = suite == CipherSuite::kAes128Ctr;
    const std::array<uint8_t, kCounterSize> counter =
        is_aes ? AesCounter(material.subspan(kNonceOffset), offset / kAesBlock)
               : ChaChaCounter(offset / kChaChaBlock);
    const size_t skipped = is_aes ? 0 : offset % kChaChaBlock;
    const EVP_CIPHER* cipher = CipherOf(suite);
    // Naming the cipher again would make OpenSSL set it up again.
    CHECK(EVP_EncryptInit_ex2(stream.context,
                              stream.cipher == cipher ? nullptr : cipher,
                              material.data(), counter.data(), nullptr) == 1)
        << ToString(suite) << " failed";
    stream.cipher = cipher;
    if (skipped > 0) Expand(stream, skipped);
  }

  void Expand(Stream& stream, size_t size) {
    int written = 0;
    CHECK(EVP_EncryptUpdate(stream.context, stream.block.data(), &written,
                            zeros.data(), static_cast<int>(size)) == 1)
        << "expanding a mask failed";
  }

  template <typename Lane>
  void Add(size_t count, bool subtract, Lane* lanes, size_t size) {
    constexpr size_t kLanes = kKeystreamSize / sizeof(Lane);
    std::array<const uint8_t*, kMostStreams> blocks;
    for (size_t i = 0; i < size; i += kLanes) {
      const size_t step = std::min(kLanes, size - i);
      for (size_t k = 0; k < count; ++k) {
        Expand(streams[k], step * sizeof(Lane));
        blocks[k] = streams[k].block.data();
      }
      secagg_internal::AddStreams(lanes + i, blocks.data(), count, step,
                                  subtract);
    }
  }

  std::array<Stream, kMostStreams> streams;
  alignas(64) std::array<uint8_t, kKeystreamSize> zeros{};
};

MaskExpander::MaskExpander() : state_(std::make_unique<State>()) {}
MaskExpander::~MaskExpander() = default;

absl::Status MaskExpander::Apply(std::span<const SignedMask> masks,
                                 int64_t begin, int64_t end,
                                 ModularVector* vector) {
  if (begin < 0 || end < begin || end > vector->size() ||
      begin % kRangeAlignment != 0) {
    return absl::InvalidArgumentError(StrCat(
        "masks over coordinates ", begin, " to ", end, " of a vector of ",
        vector->size(), "; ranges lie inside and begin at multiples of ",
        kRangeAlignment));
  }
  const uint64_t offset =
      static_cast<uint64_t>(begin) * vector->modulus().lane_size_in_bytes();
  const auto size = static_cast<size_t>(end - begin);
  const auto add = [&](size_t count, MaskSign sign) {
    const bool subtract = sign == MaskSign::kSubtract;
    if (vector->lanes32().empty()) {
      state_->Add(count, subtract, vector->lanes16().data() + begin, size);
    } else {
      state_->Add(count, subtract, vector->lanes32().data() + begin, size);
    }
  };
  for (const MaskSign sign : {MaskSign::kAdd, MaskSign::kSubtract}) {
    size_t held = 0;
    for (const SignedMask& mask : masks) {
      if (mask.sign != sign) continue;
      state_->Start(state_->streams[held], mask.key.suite_,
                    mask.key.material_.bytes(RevealSecret()), offset);
      if (++held < kMostStreams) continue;
      add(held, sign);
      held = 0;
    }
    if (held > 0) add(held, sign);
  }
  return absl::OkStatus();
}

void ApplyMasks(std::span<const SignedMask> masks, ModularVector* vector,
                ThreadPool* pool) {
  const int64_t range =
      kRangeSize / static_cast<int64_t>(vector->modulus().lane_size_in_bytes());
  // As many ranges as divide evenly over the threads.
  const int64_t threads = pool == nullptr ? 1 : pool->size() + 1;
  const int64_t turns = std::max<int64_t>(
      1, (vector->size() + threads * range - 1) / (threads * range));
  const int64_t pieces = threads * turns;
  int64_t grain = std::max<int64_t>(1, (vector->size() + pieces - 1) / pieces);
  grain = (grain + kRangeAlignment - 1) / kRangeAlignment * kRangeAlignment;
  ParallelFor(pool, vector->size(), grain, [&](int64_t begin, int64_t end) {
    // Ranges of ParallelFor are in order.
    const absl::Status status = MaskExpander().Apply(masks, begin, end, vector);
    CHECK(status.ok()) << status.message();
  });
}

}  // namespace mledge::secagg
