#include "mledge/client/private_stages.h"

#include <openssl/crypto.h>

#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mledge/aggregation/secagg/hadamard.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/grid_rounding.h"

namespace mledge {
namespace {

// Up to here every integer is a float32.
constexpr int32_t kLargestExact = 1 << 24;

}  // namespace

absl::StatusOr<std::span<float>> PrivateValues(Update* update) {
  if (update->sections.size() != 1 ||
      update->sections[0].name != kDeltaSection) {
    return absl::InvalidArgumentError(
        StrCat("private tasks take updates of one section \"", kDeltaSection,
               "\", this one has ", update->sections.size(), " sections"));
  }
  return update->sections[0].values.span();
}

absl::Status DivideByClipNorm(double clip_norm, Update* update) {
  MLEDGE_ASSIGN_OR_RETURN(const std::span<float> values, PrivateValues(update));
  for (float& value : values) {
    value = static_cast<float>(static_cast<double>(value) / clip_norm);
  }
  return absl::OkStatus();
}

absl::Status RotateUpdate(const PrivateTask& task, const Digest& seed,
                          Update* update) {
  MLEDGE_ASSIGN_OR_RETURN(const std::span<float> values, PrivateValues(update));
  MLEDGE_ASSIGN_OR_RETURN(const secagg::HadamardRotation rotation,
                          secagg::HadamardRotation::Create(
                              static_cast<int64_t>(values.size()), seed));
  AlignedFloats rotated(static_cast<size_t>(task.dimension));
  MLEDGE_RETURN_IF_ERROR(rotation.Rotate(values, rotated.span()));
  update->sections[0].values = std::move(rotated);
  return absl::OkStatus();
}

absl::Status RoundAndAddNoise(const PrivateTask& task, SecretRandom& random,
                              Update* update) {
  MLEDGE_ASSIGN_OR_RETURN(const std::span<float> values, PrivateValues(update));
  std::vector<int32_t> integers(values.size());
  MLEDGE_RETURN_IF_ERROR(
      RoundToGrid(values, task.fraction_bits,
                  std::ldexp(1.0, task.fraction_bits),
                  {.squared_norm_bound = task.squared_norm_bound,
                   .l2 = task.l2_sensitivity,
                   .l1 = task.l1_sensitivity},
                  random, integers)
          .status());
  MLEDGE_RETURN_IF_ERROR(CheckGridNorm(std::span<const int32_t>(integers),
                                       task.squared_norm_bound));
  if (task.device_noise.has_value()) {
    MLEDGE_RETURN_IF_ERROR(
        AddGridNoise(*task.device_noise, random, std::span(integers)));
  }
  const float step = std::ldexp(1.0F, -task.fraction_bits);
  absl::Status status;
  for (size_t i = 0; i < integers.size(); ++i) {
    if (integers[i] < -kLargestExact || integers[i] > kLargestExact) {
      status = absl::OutOfRangeError(
          StrCat("value ", i, " of the update is too large with its noise"));
      break;
    }
    values[i] = static_cast<float>(integers[i]) * step;
  }
  // Before the noise they were the update.
  OPENSSL_cleanse(integers.data(), integers.size() * sizeof(int32_t));
  return status;
}

void HideNumbers(const PrivateTask& task, bool clipped, Update* update) {
  for (UpdateScalar& scalar : update->scalars) scalar.value = 0;
  if (task.count_noise.has_value()) {
    update->scalars.push_back(
        {std::string(kClipBitScalar), clipped ? -0.5 : 0.5});
  }
}

}  // namespace mledge
