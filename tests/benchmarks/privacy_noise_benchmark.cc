// What noise, clipping, rounding to a grid and rotation cost on one core, each
// beside its floor in the same run: the keystream that the noise is drawn from
// (bare AES-256-CTR), and what memory takes to copy as many values (a pass: one
// read, one write; measured on 2^24 values, which no cache holds).
//
//   privacy_noise_benchmark [--largest-rotation LOG2]

#include <openssl/evp.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "mledge/aggregation/secagg/hadamard.h"
#include "mledge/core/secret_random.h"
#include "mledge/privacy/clipping.h"
#include "mledge/privacy/grid_rounding.h"
#include "mledge/privacy/noise/discrete_gaussian.h"
#include "mledge/privacy/noise/skellam.h"

namespace mledge {
namespace {

// Processor time, so that what other processes take does not count; the best of
// the repetitions.
double Seconds(int repetitions, const std::function<void()>& work) {
  double best = 1e9;
  for (int i = 0; i < repetitions; ++i) {
    timespec start{};
    timespec end{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    work();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    best = std::min(
        best, static_cast<double>(end.tv_sec - start.tv_sec) +
                  1e-9 * static_cast<double>(end.tv_nsec - start.tv_nsec));
  }
  return best;
}

// Of one byte.
double BareKeystreamSeconds() {
  constexpr int kBlock = 4096;
  constexpr int kBlocks = 4096;
  std::vector<uint8_t> bytes(kBlock);
  const std::vector<uint8_t> key(32, 7);
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  const double seconds = Seconds(9, [&] {
    EVP_EncryptInit_ex2(context, EVP_aes_256_ctr(), key.data(), key.data() + 16,
                        nullptr);
    for (int i = 0; i < kBlocks; ++i) {
      int written = 0;
      EVP_EncryptUpdate(context, bytes.data(), &written, bytes.data(), kBlock);
    }
  });
  EVP_CIPHER_CTX_free(context);
  return seconds / (double{kBlock} * kBlocks);
}

template <typename Sampler>
void BenchmarkSampler(const char* name, double sigma, const Sampler& sampler,
                      double tables, double keystream_byte) {
  constexpr size_t kDraws = size_t{1} << 20;
  SystemSecretRandom random;
  std::vector<int32_t> draws(kDraws);
  const double seconds =
      Seconds(7, [&] { sampler.Fill(random, draws); }) / kDraws;
  // Four bytes a table and draw.
  const double floor = 4 * tables * keystream_byte;
  std::printf(
      "%-17s sigma %7.1f  %7.1f M/s   its keystream %7.1f M/s   ratio "
      "%5.1f\n",
      name, sigma, 1e-6 / seconds, 1e-6 / floor, seconds / floor);
}

void BenchmarkSamplers() {
  const double keystream_byte = BareKeystreamSeconds();
  std::printf("AES-256-CTR %.2f GB/s\n", 1e-9 / keystream_byte);
  // 32.9, 131, 527 and 2111 stand just before one more step is taken, where a
  // draw costs most.
  for (const double sigma : {0.5, 1.0, 7.3, 32.9, 33.0, 100.0, 131.0, 527.0,
                             1000.0, 2111.0, 4096.0}) {
    double tables = 1;
    for (double rest = sigma * sigma; rest >= 1088; rest = (rest - 64) / 16) {
      ++tables;
    }
    BenchmarkSampler("discrete Gaussian", sigma,
                     *DiscreteGaussian::Create(VarianceOf(sigma)), tables,
                     keystream_byte);
  }
  for (const double sigma : {0.5, 7.3, 100.0, 256.0}) {
    BenchmarkSampler("Skellam", sigma, *Skellam::Create(sigma * sigma), 1,
                     keystream_byte);
  }
}

// Seconds to copy a value from and to memory.
double PassSeconds() {
  constexpr size_t kSize = size_t{1} << 24;
  const std::vector<float> values(kSize, 1);
  std::vector<float> copy(kSize);
  return Seconds(9,
                 [&] {
                   std::memcpy(copy.data(), values.data(),
                               kSize * sizeof(float));
                 }) /
         kSize;
}

void PrintPasses(const char* what, int log2, double seconds, double pass) {
  std::printf("%-28s 2^%d values %8.2f ms   a pass %7.2f ms   passes %5.2f\n",
              what, log2, 1e3 * seconds, 1e3 * pass, seconds / pass);
}

void BenchmarkVectors(int log2, double value_pass) {
  const size_t size = size_t{1} << log2;
  const int repetitions = log2 > 22 ? 7 : 31;
  std::vector<float> values(size);
  for (size_t i = 0; i < size; ++i) {
    values[i] = static_cast<float>((i * 2654435761U % 1000) / 1000.0 - 0.5);
  }
  const double pass = value_pass * static_cast<double>(size);
  std::vector<std::span<float>> spans = {values};
  // Just below the norm each time, so that it is scaled each time.
  double norm = L2Norm({std::vector<std::span<const float>>{values}}).value();
  PrintPasses("clip", log2,
              Seconds(repetitions,
                      [&] {
                        norm *= 0.999;
                        ClipL2(spans, norm).status().IgnoreError();
                      }),
              pass);
  std::vector<float> rotated(size);
  const auto rotation = *secagg::HadamardRotation::Create(
      static_cast<int64_t>(size), Sha256Of("seed"));
  PrintPasses("rotate", log2,
              Seconds(repetitions,
                      [&] { rotation.Rotate(values, rotated).IgnoreError(); }),
              pass);
  // Zeros stay zeros however often they are turned back in place.
  std::fill(rotated.begin(), rotated.end(), 0.0F);
  std::vector<float> back(size);
  PrintPasses("rotate back", log2,
              Seconds(repetitions,
                      [&] { rotation.Invert(rotated, back).IgnoreError(); }),
              pass);
  const auto sensitivity = *SensitivityAfterRounding(
      4096, static_cast<int64_t>(size), GridRounding::kConditional);
  norm = L2Norm({std::vector<std::span<const float>>{values}}).value();
  const int fraction_bits = std::ilogb(4096 / norm);
  std::vector<int32_t> q(size);
  SystemSecretRandom random;
  PrintPasses("round to the grid", log2,
              Seconds(repetitions,
                      [&] {
                        RoundToGrid(values, fraction_bits, 4096, sensitivity,
                                    random, q)
                            .status()
                            .IgnoreError();
                      }),
              pass);
}

}  // namespace
}  // namespace mledge

int main(int argc, char** argv) {
  int largest = 24;
  if (argc == 3 && std::string_view(argv[1]) == "--largest-rotation") {
    largest = std::clamp(std::atoi(argv[2]), 10, 28);
  } else if (argc != 1) {
    std::fprintf(stderr, "usage: %s [--largest-rotation LOG2]\n", argv[0]);
    return 2;
  }
  mledge::BenchmarkSamplers();
  const double value_pass = mledge::PassSeconds();
  for (int log2 = 20; log2 <= largest; log2 += 4) {
    mledge::BenchmarkVectors(log2, value_pass);
  }
  return 0;
}
