#include "mledge/client/torch/internal/trainer_snapshot.h"

#include <bit>
#include <cstring>
#include <type_traits>

#include "mledge/core/status_macros.h"

namespace mledge {
namespace {

static_assert(std::endian::native == std::endian::little,
              "snapshots are written as the machine holds them");

constexpr std::string_view kMagic = "MLEDGETS";
constexpr uint32_t kVersion = 1;

template <typename T>
void Append(T value, std::string* bytes) {
  static_assert(std::is_trivially_copyable_v<T>);
  bytes->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendBlob(const void* data, size_t size, std::string* bytes) {
  Append<uint64_t>(size, bytes);
  bytes->append(static_cast<const char*>(data), size);
}

void AppendFloats(std::span<const float> values, std::string* bytes) {
  AppendBlob(values.data(), values.size_bytes(), bytes);
}

absl::Status Damaged() {
  return absl::InvalidArgumentError(
      "the training's snapshot is damaged or was written by another version: "
      "start the training again");
}

// Reads fields from the front; after the first failure all fail.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  void Read(T* value) {
    const std::string_view field = Take(sizeof(T));
    if (ok_) std::memcpy(value, field.data(), sizeof(T));
  }
  std::string_view ReadBlob() {
    uint64_t size = 0;
    Read(&size);
    return Take(size);
  }
  AlignedFloats ReadFloats() {
    const std::string_view blob = ReadBlob();
    if (blob.size() % sizeof(float) != 0) ok_ = false;
    if (!ok_ || blob.empty()) return {};
    AlignedFloats values(blob.size() / sizeof(float));
    std::memcpy(values.span().data(), blob.data(), blob.size());
    return values;
  }
  bool ok_at_end() const { return ok_ && bytes_.empty(); }

 private:
  std::string_view Take(uint64_t size) {
    if (!ok_ || size > bytes_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view field = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return field;
  }

  std::string_view bytes_;
  bool ok_ = true;
};

uint64_t Bits(double value) { return std::bit_cast<uint64_t>(value); }

}  // namespace

std::string SerializeTrainerState(const TrainerState& state) {
  std::string bytes(kMagic);
  Append(kVersion, &bytes);
  Append(state.fingerprint, &bytes);
  Append(state.step, &bytes);
  Append(state.epoch, &bytes);
  Append(state.position, &bytes);
  Append(state.examples, &bytes);
  Append(state.loss_sum, &bytes);
  Append(state.metric_sum, &bytes);
  AppendFloats(state.parameters.span(), &bytes);
  AppendFloats(state.first_moment.span(), &bytes);
  AppendFloats(state.second_moment.span(), &bytes);
  AppendBlob(state.non_float_state.data(), state.non_float_state.size(),
             &bytes);
  return bytes + Sha256Of(bytes).ToBytes();
}

absl::StatusOr<TrainerState> ParseTrainerState(std::string_view bytes) {
  constexpr size_t kDigestSize = sizeof(Digest::bytes);
  if (bytes.size() < kMagic.size() + kDigestSize ||
      !bytes.starts_with(kMagic)) {
    return Damaged();
  }
  const std::string_view body = bytes.substr(0, bytes.size() - kDigestSize);
  if (Sha256Of(body).ToBytes() != bytes.substr(body.size())) return Damaged();
  Reader reader(body.substr(kMagic.size()));
  uint32_t version = 0;
  TrainerState state;
  reader.Read(&version);
  if (version != kVersion) return Damaged();
  reader.Read(&state.fingerprint);
  reader.Read(&state.step);
  reader.Read(&state.epoch);
  reader.Read(&state.position);
  reader.Read(&state.examples);
  reader.Read(&state.loss_sum);
  reader.Read(&state.metric_sum);
  state.parameters = reader.ReadFloats();
  state.first_moment = reader.ReadFloats();
  state.second_moment = reader.ReadFloats();
  state.non_float_state = std::string(reader.ReadBlob());
  if (!reader.ok_at_end()) return Damaged();
  return state;
}

Digest TrainingFingerprint(const TrainingPlan& plan, const Digest& model,
                           std::span<const float> base, int64_t examples) {
  Sha256 hash;
  hash.UpdateField("mledge training fingerprint v1")
      .UpdateU64(static_cast<uint64_t>(plan.kind))
      .UpdateU64(plan.task_seed)
      .UpdateField(plan.device)
      .UpdateU64(static_cast<uint64_t>(plan.ordinal))
      .UpdateU64(static_cast<uint64_t>(plan.epochs))
      .UpdateU64(static_cast<uint64_t>(plan.steps))
      .UpdateU64(static_cast<uint64_t>(plan.batch_size))
      .UpdateU64(static_cast<uint64_t>(plan.max_examples))
      .UpdateU64(Bits(plan.learning_rate))
      .UpdateU64(Bits(plan.proximal_coefficient))
      .UpdateU64(plan.optimizer.index());
  if (const auto* adam = std::get_if<AdamPlan>(&plan.optimizer)) {
    hash.UpdateU64(Bits(adam->beta1))
        .UpdateU64(Bits(adam->beta2))
        .UpdateU64(Bits(adam->epsilon))
        .UpdateU64(Bits(adam->weight_decay));
  } else {
    const SgdPlan& sgd = std::get<SgdPlan>(plan.optimizer);
    hash.UpdateU64(Bits(sgd.momentum)).UpdateU64(Bits(sgd.weight_decay));
  }
  hash.UpdateField(model.ToBytes())
      .UpdateU64(static_cast<uint64_t>(examples))
      .Update(std::span(reinterpret_cast<const uint8_t*>(base.data()),
                        base.size_bytes()));
  return hash.Finish();
}

}  // namespace mledge
