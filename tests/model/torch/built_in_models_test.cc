#include "mledge/model/torch/built_in_models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "mledge/model/torch/torch_runtime.h"
#include "mledge/tests/model/torch/script_fixture.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

int64_t ParameterCount(const BuiltInModelOptions& options) {
  const auto package = CreateBuiltInModel(options, 1);
  EXPECT_THAT(package, IsOk());
  if (!package.ok()) return -1;
  EXPECT_EQ(package->layout->size(), package->layout->trainable_size());
  return package->layout->size();
}

TEST(BuiltInModelsTest, HaveThePublishedNumberOfParameters) {
  EXPECT_EQ(ParameterCount({.architecture = "softmax-regression"}), 7850);
  EXPECT_EQ(ParameterCount({.architecture = "2nn"}), 199210);
  EXPECT_EQ(ParameterCount({.architecture = "fedavg-cnn"}), 1663370);
  EXPECT_EQ(
      ParameterCount(
          {.architecture = "mlp", .inputs = 6, .outputs = 2, .hidden = {8, 4}}),
      6 * 8 + 8 + 8 * 4 + 4 + 4 * 2 + 2);
}

TEST(BuiltInModelsTest, EachNameInTheListCanBeCreated) {
  for (const std::string_view name : BuiltInArchitectures()) {
    EXPECT_THAT(CreateBuiltInModel(
                    {.architecture = std::string(name), .inputs = 784}, 1),
                IsOk())
        << name;
  }
}

TEST(BuiltInModelsTest, ConvolutionsRunChannelsLast) {
  const auto package = CreateBuiltInModel({.architecture = "fedavg-cnn"}, 1);
  ASSERT_THAT(package, IsOk());
  EXPECT_TRUE(package->channels_last);
  EXPECT_EQ(package->input.shape, (std::vector<int64_t>{1, 28, 28}));
  EXPECT_EQ(package->output.shape, (std::vector<int64_t>{10}));
}

TEST(BuiltInModelsTest, InitialValuesDependOnTheSeedAlone) {
  const BuiltInModelOptions options{.architecture = "2nn"};
  const auto first = CreateBuiltInModel(options, 7);
  SeedGlobalGenerator(99);
  const auto again = CreateBuiltInModel(options, 7);
  const auto other = CreateBuiltInModel(options, 8);
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(again, IsOk());
  ASSERT_THAT(other, IsOk());
  EXPECT_EQ(first->initial_parameters.ContentHash(),
            again->initial_parameters.ContentHash());
  EXPECT_EQ(first->code, again->code);
  EXPECT_NE(first->initial_parameters.ContentHash(),
            other->initial_parameters.ContentHash());
}

TEST(BuiltInModelsTest, InitialWeightsFillGlorotsIntervalAndBiasesAreZero) {
  const auto package = CreateBuiltInModel({.architecture = "fedavg-cnn"}, 3);
  ASSERT_THAT(package, IsOk());
  const std::map<std::string, double> fans = {{"conv1.weight", 25 * (1 + 32)},
                                              {"conv2.weight", 25 * (32 + 64)},
                                              {"fc1.weight", 3136 + 512},
                                              {"fc2.weight", 512 + 10}};
  for (const ParameterEntry& entry : package->layout->entries()) {
    const bool is_bias = entry.name.ends_with("bias");
    const double bound = is_bias ? 0 : std::sqrt(6 / fans.at(entry.name));
    const auto values = package->initial_parameters.values(entry);
    const auto [least, most] =
        std::minmax_element(values.begin(), values.end());
    EXPECT_GE(*least, -bound) << entry.name;
    EXPECT_LE(*most, bound) << entry.name;
    if (is_bias) continue;
    EXPECT_LT(*least, -0.95 * bound) << entry.name;
    EXPECT_GT(*most, 0.95 * bound) << entry.name;
  }
}

TEST(BuiltInModelsTest, CodeCarriesNoValues) {
  const auto package = CreateBuiltInModel({.architecture = "fedavg-cnn"}, 1);
  ASSERT_THAT(package, IsOk());
  EXPECT_LT(package->code.size(), 32u * 1024);
}

TEST(BuiltInModelsTest, UnknownArchitectureNamesTheValidOnes) {
  EXPECT_THAT(
      CreateBuiltInModel({.architecture = "3nn"}, 1),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("\"3nn\""), HasSubstr("softmax-regression, 2nn, "
                                                     "fedavg-cnn, mlp"))));
}

TEST(BuiltInModelsTest, RefusesOptionsThatDoNotFit) {
  const auto refused = [](const BuiltInModelOptions& options,
                          const std::string& part) {
    EXPECT_THAT(CreateBuiltInModel(options, 1),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(part)));
  };
  refused({.architecture = "mlp"}, "inputs is missing");
  refused({.architecture = "mlp", .inputs = -3}, "inputs is -3");
  refused({.architecture = "mlp", .inputs = 4, .hidden = {0}},
          "hidden layer's width is 0");
  refused({.architecture = "mlp", .inputs = 4, .outputs = 2'000'000},
          "outputs is 2000000");
  refused({.architecture = "mlp", .inputs = 4, .outputs = 1}, "at least 2");
  refused({.architecture = "2nn", .hidden = {3}}, "fixed layers");
  refused({.architecture = "2nn", .regression = true}, "use mlp");
  refused({.architecture = "fedavg-cnn", .inputs = 100}, "28×28");
}

TEST(TorchRuntimeTest, NamesLibraryAndProcessor) {
  EXPECT_THAT(TorchVersion(), ::testing::MatchesRegex("LibTorch [0-9.]+.*"));
  EXPECT_THAT(CpuKind(), ::testing::Not(HasSubstr("unknown kernels")));
}

}  // namespace
}  // namespace mledge
