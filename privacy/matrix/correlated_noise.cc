#include "mledge/privacy/matrix/correlated_noise.h"

#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/matrix/correlated_grid.h"

namespace mledge {
namespace {

static_assert(std::endian::native == std::endian::little,
              "saved states are little-endian and read in place");

constexpr std::string_view kMagic = "MLEDGECN";
// Values that one call of the sampler draws, and that pass all vectors while
// they are in the second-level cache.
constexpr int64_t kRange = 8192;
// Pieces that are hashed and written at a time.
constexpr size_t kPiece = size_t{1} << 20;
constexpr double kLargestDeviation = 20;

std::span<const uint8_t> BytesOf(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void HashVector(const std::vector<double>& values, Sha256* hash) {
  hash->UpdateU64(values.size());
  for (double value : values) hash->UpdateU64(std::bit_cast<uint64_t>(value));
}

// What comes before the vectors. It has a SHA-256 of its own, because a state
// of other options has another size.
std::string Head(const Digest& options, int64_t next_round) {
  std::string head(kMagic);
  head += options.ToBytes();
  std::array<char, 8> round;
  std::memcpy(round.data(), &next_round, round.size());
  head.append(round.data(), round.size());
  head += Sha256Of(std::string_view(head)).ToBytes();
  return head;
}

constexpr size_t kDigestSize = 32;
constexpr size_t kHeadSize = 8 + kDigestSize + 8 + kDigestSize;

int64_t LargestDraw(double standard_deviation) {
  return static_cast<int64_t>(
      std::ceil(kLargestDeviation * standard_deviation));
}

absl::StatusOr<matrix_internal::NoiseFilter> FilterOf(
    const CorrelatedNoiseOptions& options) {
  MLEDGE_RETURN_IF_ERROR(
      ValidateCorrelatedGrid({.fraction_bits = options.fraction_bits,
                              .dimension = options.dimension,
                              .l2_sensitivity = 1}));
  MLEDGE_RETURN_IF_ERROR(
      ValidateCorrelatedStandardDeviation(options.standard_deviation));
  return matrix_internal::NoiseFilter::Create(
      options.strategy, options.rounds, options.fraction_bits,
      LargestDraw(options.standard_deviation));
}

absl::Status Damaged() {
  return absl::DataLossError(
      "a state of correlated noise is damaged: its SHA-256 does not match");
}

}  // namespace

absl::Status ValidateCorrelatedNoiseOptions(
    const CorrelatedNoiseOptions& options) {
  return FilterOf(options).status();
}

CorrelatedNoise::CorrelatedNoise(const CorrelatedNoiseOptions& options,
                                 matrix_internal::NoiseFilter filter,
                                 int64_t largest_z)
    : options_(options),
      filter_(std::move(filter)),
      largest_z_(largest_z),
      state_(static_cast<size_t>(filter_.vectors() * options.dimension) *
             sizeof(int64_t)) {}

absl::StatusOr<std::unique_ptr<CorrelatedNoise>> CorrelatedNoise::Create(
    const CorrelatedNoiseOptions& options) {
  MLEDGE_ASSIGN_OR_RETURN(matrix_internal::NoiseFilter filter,
                          FilterOf(options));
  return std::unique_ptr<CorrelatedNoise>(new CorrelatedNoise(
      options, std::move(filter), LargestDraw(options.standard_deviation)));
}

absl::Status CorrelatedNoise::AddNoise(int64_t round,
                                       const NoiseSampler& sampler,
                                       std::span<int64_t> sum,
                                       ThreadPool* pool) {
  if (static_cast<int64_t>(sum.size()) != options_.dimension) {
    return absl::InvalidArgumentError(StrCat("a sum of ", sum.size(),
                                             " coordinates where noise has ",
                                             options_.dimension));
  }
  if (broken_) {
    return absl::FailedPreconditionError(
        "the noise's state is broken by a sampler's error; restore the state "
        "that was saved before");
  }
  if (round != next_round_ || round >= options_.rounds) {
    return absl::FailedPreconditionError(StrCat(
        "noise of round ", round, " where the next one is ", next_round_,
        " of ", options_.rounds, ": each round is drawn once, in order"));
  }
  auto* const state =
      reinterpret_cast<int64_t*>(state_.mutable_bytes(RevealSecret()).data());
  std::atomic<bool> too_large = false;
  ParallelFor(
      pool, options_.dimension, kRange, [&](int64_t begin, int64_t end) {
        SecretBytes scratch(static_cast<size_t>(end - begin) * sizeof(int64_t));
        const std::span<int64_t> values(
            reinterpret_cast<int64_t*>(
                scratch.mutable_bytes(RevealSecret()).data()),
            static_cast<size_t>(end - begin));
        sampler(begin, values);
        bool within = true;
        for (int64_t z : values) within &= z >= -largest_z_ && z <= largest_z_;
        if (!within) {
          too_large = true;
          return;
        }
        std::vector<int64_t*> vectors(static_cast<size_t>(filter_.vectors()));
        for (size_t v = 0; v < vectors.size(); ++v) {
          vectors[v] =
              state + static_cast<int64_t>(v) * options_.dimension + begin;
        }
        filter_.Apply(round, vectors, values);
        for (size_t i = 0; i < values.size(); ++i) {
          int64_t& total = sum[static_cast<size_t>(begin) + i];
          total = static_cast<int64_t>(
              static_cast<uint64_t>(total) +
              static_cast<uint64_t>(matrix_internal::RoundHalfUp(
                  values[i], options_.fraction_bits)));
        }
      });
  if (too_large) {
    broken_ = true;
    return absl::InternalError(
        StrCat("a draw of noise is more than ", kLargestDeviation,
               " standard deviations of ", options_.standard_deviation,
               " out: the sampler does not draw what it should"));
  }
  ++next_round_;
  return absl::OkStatus();
}

Digest CorrelatedNoise::OptionsDigest() const {
  Sha256 hash;
  hash.UpdateField("mledge/correlated-noise/1");
  hash.UpdateU64(options_.strategy.index());
  if (const auto* bands = std::get_if<BandedToeplitz>(&options_.strategy)) {
    HashVector(bands->coefficients, &hash);
  }
  if (const auto* buffers = std::get_if<BufferedToeplitz>(&options_.strategy)) {
    HashVector(buffers->decays, &hash);
    HashVector(buffers->weights, &hash);
  }
  hash.UpdateU64(static_cast<uint64_t>(options_.rounds));
  hash.UpdateU64(static_cast<uint64_t>(options_.dimension));
  hash.UpdateU64(static_cast<uint64_t>(options_.fraction_bits));
  hash.UpdateU64(std::bit_cast<uint64_t>(options_.standard_deviation));
  return hash.Finish();
}

int64_t CorrelatedNoise::saved_size_in_bytes() const {
  return static_cast<int64_t>(kHeadSize + state_.size() + kDigestSize);
}

absl::Status CorrelatedNoise::Save(const Sink& sink) const {
  if (broken_) {
    return absl::FailedPreconditionError(
        "the noise's state is broken by a sampler's error; what was saved "
        "before it stays valid");
  }
  Sha256 hash;
  const auto write = [&](std::span<const uint8_t> piece) {
    hash.Update(piece);
    return sink(piece);
  };
  MLEDGE_RETURN_IF_ERROR(write(BytesOf(Head(OptionsDigest(), next_round_))));
  const std::span<const uint8_t> state = state_.bytes(RevealSecret());
  for (size_t begin = 0; begin < state.size(); begin += kPiece) {
    MLEDGE_RETURN_IF_ERROR(
        write(state.subspan(begin, std::min(kPiece, state.size() - begin))));
  }
  return sink(hash.Finish().bytes);
}

absl::StatusOr<std::unique_ptr<CorrelatedNoise>> CorrelatedNoise::Restore(
    const CorrelatedNoiseOptions& options, const Source& source) {
  MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<CorrelatedNoise> noise,
                          Create(options));
  Sha256 hash;
  const auto read = [&](std::span<uint8_t> piece) {
    absl::Status status = source(piece);
    if (status.ok()) hash.Update(piece);
    return status;
  };
  std::array<uint8_t, kHeadSize> head;
  MLEDGE_RETURN_IF_ERROR(read(head));
  const std::string_view text(reinterpret_cast<const char*>(head.data()),
                              head.size());
  if (!text.starts_with(kMagic)) {
    return absl::DataLossError(StrCat(
        "not a state of correlated noise: it does not start with ", kMagic));
  }
  const std::string_view hashed = text.substr(0, kHeadSize - kDigestSize);
  if (Sha256Of(hashed).ToBytes() != text.substr(hashed.size())) {
    return Damaged();
  }
  if (text.substr(kMagic.size(), kDigestSize) !=
      noise->OptionsDigest().ToBytes()) {
    return absl::FailedPreconditionError(
        "a state of correlated noise belongs to another task or other "
        "settings");
  }
  std::memcpy(&noise->next_round_, head.data() + kMagic.size() + kDigestSize,
              sizeof(int64_t));
  const std::span<uint8_t> state = noise->state_.mutable_bytes(RevealSecret());
  for (size_t begin = 0; begin < state.size(); begin += kPiece) {
    MLEDGE_RETURN_IF_ERROR(
        read(state.subspan(begin, std::min(kPiece, state.size() - begin))));
  }
  Digest stored;
  MLEDGE_RETURN_IF_ERROR(source(stored.bytes));
  if (hash.Finish() != stored || noise->next_round_ < 0 ||
      noise->next_round_ > options.rounds) {
    return Damaged();
  }
  return noise;
}

absl::StatusOr<SecretBytes> CorrelatedNoise::Serialize() const {
  SecretBytes bytes(static_cast<size_t>(saved_size_in_bytes()));
  std::span<uint8_t> rest = bytes.mutable_bytes(RevealSecret());
  MLEDGE_RETURN_IF_ERROR(Save([&](std::span<const uint8_t> piece) {
    std::memcpy(rest.data(), piece.data(), piece.size());
    rest = rest.subspan(piece.size());
    return absl::OkStatus();
  }));
  return bytes;
}

absl::StatusOr<std::unique_ptr<CorrelatedNoise>> CorrelatedNoise::Parse(
    const CorrelatedNoiseOptions& options, std::span<const uint8_t> bytes) {
  const size_t size = bytes.size();
  absl::StatusOr<std::unique_ptr<CorrelatedNoise>> noise =
      Restore(options, [&](std::span<uint8_t> piece) -> absl::Status {
        if (piece.size() > bytes.size()) {
          return absl::DataLossError(StrCat(
              "a state of correlated noise ends after ", size, " bytes"));
        }
        std::memcpy(piece.data(), bytes.data(), piece.size());
        bytes = bytes.subspan(piece.size());
        return absl::OkStatus();
      });
  if (noise.ok() && !bytes.empty()) {
    return absl::DataLossError(StrCat("a state of correlated noise has ",
                                      bytes.size(), " bytes too many"));
  }
  return noise;
}

}  // namespace mledge
