#include "mledge/model/torch/torchscript_import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "mledge/model/torch/torch_runtime.h"
#include "mledge/tests/model/torch/script_fixture.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = FixtureTensor::Kind;

ImportOptions Options(std::vector<int64_t> input) {
  return {.name = "fixture", .input = {.shape = std::move(input)}};
}

// A linear model of 4 inputs and 3 classes with `statement` in its midst.
absl::StatusOr<std::string> LinearWith(const std::string& statement) {
  return CompileTorchScript({{"weight", {3, 4}}, {"bias", {3}}},
                            "def forward(self, x: Tensor) -> Tensor:\n"
                            "  y = torch.linear(x, self.weight, self.bias)\n"
                            "  " +
                                statement +
                                "\n"
                                "  return y\n");
}

void ExpectRefused(const std::string& statement, const std::string& name,
                   const std::string& way_out) {
  const auto code = LinearWith(statement);
  ASSERT_THAT(code, IsOk());
  EXPECT_THAT(ImportTorchScript(*code, Options({4})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(name), HasSubstr(way_out))))
      << statement;
}

std::vector<std::string> Names(const ParameterLayout& layout,
                               ParameterRole role) {
  std::vector<std::string> names;
  for (const ParameterEntry& entry : layout.entries()) {
    if (entry.role == role) names.push_back(entry.name);
  }
  return names;
}

TEST(TorchScriptImportTest, TakesShapesValuesAndOutputFromTheFile) {
  const auto code = LinearWith("y = torch.relu(y)");
  ASSERT_THAT(code, IsOk());
  const auto model = ImportTorchScript(*code, Options({4}));
  ASSERT_THAT(model, IsOk());
  const ModelPackage& package = model->package;
  EXPECT_EQ(package.output.shape, (std::vector<int64_t>{3}));
  EXPECT_EQ(package.layout->size(), 15);
  EXPECT_FALSE(package.channels_last);
  EXPECT_THAT(model->notices, IsEmpty());
  double total = 0;
  for (const float value : package.initial_parameters.values()) {
    total += std::abs(value);
  }
  EXPECT_GT(total, 1);
  EXPECT_LT(package.code.size(), 32u * 1024);
}

TEST(TorchScriptImportTest, ImportingAPackagesOwnCodeGivesTheSameLayout) {
  const auto code = CompileBatchNormModel();
  ASSERT_THAT(code, IsOk());
  const auto first = ImportTorchScript(*code, Options({2, 6, 6}));
  ASSERT_THAT(first, IsOk());
  const auto second =
      ImportTorchScript(first->package.code, Options({2, 6, 6}));
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(first->package.layout->fingerprint(),
            second->package.layout->fingerprint());
}

TEST(TorchScriptImportTest, BuffersBecomeAveragedOrLocal) {
  const auto code = CompileBatchNormModel();
  ASSERT_THAT(code, IsOk());
  const auto model = ImportTorchScript(*code, Options({2, 6, 6}));
  ASSERT_THAT(model, IsOk());
  const ParameterLayout& layout = *model->package.layout;
  EXPECT_THAT(Names(layout, ParameterRole::kAveragedBuffer),
              ElementsAre("running_mean", "running_var"));
  EXPECT_THAT(Names(layout, ParameterRole::kLocalBuffer), ElementsAre("count"));
  EXPECT_EQ(layout.Find("count")->extent(), 0);
  EXPECT_EQ(layout.shared_size(), layout.trainable_size() + 8);
  EXPECT_TRUE(model->package.channels_last);
}

TEST(TorchScriptImportTest, TiedWeightsStayTied) {
  const auto code = CompileTorchScript(
      {{"weight", {4, 4}}, {"again", {4, 4}, Kind::kParameter, "weight"}},
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  return torch.linear(torch.linear(x, self.weight), self.again)\n");
  ASSERT_THAT(code, IsOk());
  const auto model = ImportTorchScript(*code, Options({4}));
  ASSERT_THAT(model, IsOk());
  EXPECT_EQ(model->package.layout->size(), 16);
  EXPECT_EQ(model->package.layout->Find("again")->alias_of, "weight");
}

TEST(TorchScriptImportTest, ParametersWithoutGradientAreFrozen) {
  const auto code = CompileTorchScript(
      {{"fixed", {4, 4}, Kind::kFrozen}, {"weight", {3, 4}}},
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  return torch.linear(torch.linear(x, self.fixed), self.weight)\n");
  ASSERT_THAT(code, IsOk());
  const auto model = ImportTorchScript(*code, Options({4}));
  ASSERT_THAT(model, IsOk());
  EXPECT_THAT(Names(*model->package.layout, ParameterRole::kFrozen),
              ElementsAre("fixed"));
  EXPECT_EQ(model->package.layout->shared_size(), 12);
  EXPECT_EQ(model->package.layout->size(), 28);
}

TEST(TorchScriptImportTest, FreezesWhatTheOptionsName) {
  const auto code = LinearWith("y = torch.relu(y)");
  ASSERT_THAT(code, IsOk());
  ImportOptions options = Options({4});
  options.frozen = {"bias"};
  const auto model = ImportTorchScript(*code, options);
  ASSERT_THAT(model, IsOk());
  EXPECT_EQ(model->package.layout->trainable_size(), 12);
  options.frozen = {"encoder"};
  EXPECT_THAT(
      ImportTorchScript(*code, options),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"encoder\"")));
}

TEST(TorchScriptImportTest, RefusesRandomOperatorsByName) {
  const std::string way_out = "use nn.Dropout";
  ExpectRefused("y = y * torch.rand_like(y)", "aten::rand_like", way_out);
  ExpectRefused("y = y + torch.randn([3])", "aten::randn", way_out);
  ExpectRefused("y = torch.bernoulli(torch.sigmoid(y))", "aten::bernoulli",
                way_out);
  ExpectRefused("y = torch.normal(y, 1.0)", "aten::normal", way_out);
  ExpectRefused("y = torch.alpha_dropout(y, 0.5, self.training)",
                "aten::alpha_dropout", way_out);
  ExpectRefused("y = torch.rrelu(y, 0.1, 0.3, self.training)", "aten::rrelu",
                way_out);
}

TEST(TorchScriptImportTest, FindsRandomOperatorsInsideBranchesAndMethods) {
  const auto code = CompileTorchScript({{"weight", {3, 4}}}, R"(
def noise(self, y: Tensor) -> Tensor:
  for i in range(2):
    if self.training:
      y = y + torch.randn_like(y)
  return y
def forward(self, x: Tensor) -> Tensor:
  return self.noise(torch.linear(x, self.weight))
)");
  ASSERT_THAT(code, IsOk());
  EXPECT_THAT(ImportTorchScript(*code, Options({4})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("aten::randn_like")));
}

TEST(TorchScriptImportTest, RefusesDropoutInsideALstm) {
  const std::string lstm_with = R"(
def forward(self, x: Tensor) -> Tensor:
  h = torch.zeros([2, x.size(0), 3])
  w = [self.a, self.b, self.c, self.d]
  y, hn, cn = torch.lstm(x, [h, h], w, False, 2, DROPOUT, self.training, False, True)
  return torch.select(y, 1, 0)
)";
  const auto import = [&](const std::string& dropout) {
    std::string source = lstm_with;
    source.replace(source.find("DROPOUT"), 7, dropout);
    const auto code = CompileTorchScript(
        {{"a", {12, 3}}, {"b", {12, 3}}, {"c", {12, 3}}, {"d", {12, 3}}},
        source);
    EXPECT_THAT(code, IsOk());
    return ImportTorchScript(code.value_or(""), Options({5, 3}));
  };
  EXPECT_THAT(import("0.25"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("aten::lstm"),
                             HasSubstr("separate nn.Dropout"))));
  // An attribute of the module is as good as a constant.
  EXPECT_THAT(import("self.ratio"), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr("separate nn.Dropout")));
  EXPECT_THAT(import("0.0"), IsOk());
}

TEST(TorchScriptImportTest, RefusesDropoutInsideAttention) {
  const std::string source = R"(
def forward(self, x: Tensor) -> Tensor:
  q = torch.linear(x, self.weight).unsqueeze(1)
  p = 0.0
  if self.training:
    p = DROPOUT
  y = torch.scaled_dot_product_attention(q, q, q, None, p, False)
  return torch.mean(y.squeeze(1), [1])
)";
  const auto import = [&](const std::string& dropout) {
    std::string text = source;
    text.replace(text.find("DROPOUT"), 7, dropout);
    return CompileTorchScript({{"weight", {4, 4}}}, text);
  };
  const auto random = import("0.1");
  if (!random.ok()) GTEST_SKIP() << random.status().message();
  EXPECT_THAT(ImportTorchScript(*random, Options({6, 4})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("scaled_dot_product_attention"),
                             HasSubstr("separate nn.Dropout"))));
  EXPECT_THAT(ImportTorchScript(*import("0.0"), Options({6, 4})), IsOk());
}

TEST(TorchScriptImportTest, RefusesAttributesThatChange) {
  const auto code = CompileTorchScript({{"weight", {3, 4}}}, R"(
def forward(self, x: Tensor) -> Tensor:
  self.ratio = self.ratio * 0.5
  return torch.linear(x, self.weight) * self.ratio
)");
  ASSERT_THAT(code, IsOk());
  EXPECT_THAT(
      ImportTorchScript(*code, Options({4})),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("\"ratio\""), HasSubstr("registered buffer"))));
}

TEST(TorchScriptImportTest, SaysWhenAModelIsTooFlatForChannelsLast) {
  const auto code =
      CompileTorchScript({{"kernel", {4, 2, 3, 3}}, {"weight", {3, 144}}}, R"(
def forward(self, x: Tensor) -> Tensor:
  y = torch.conv2d(x, self.kernel, None, padding=[1, 1])
  return torch.linear(y.view([-1, 144]), self.weight)
)");
  ASSERT_THAT(code, IsOk());
  const auto model = ImportTorchScript(*code, Options({2, 6, 6}));
  ASSERT_THAT(model, IsOk());
  EXPECT_FALSE(model->package.channels_last);
  EXPECT_THAT(model->notices, ElementsAre(HasSubstr("instead of view")));
}

TEST(TorchScriptImportTest, DrawsNothingFromTheGlobalGenerator) {
  const auto code = CompileLstmModel();
  ASSERT_THAT(code, IsOk());
  SeedGlobalGenerator(5);
  const double expected = DrawFromGlobalGenerator();
  SeedGlobalGenerator(5);
  ASSERT_THAT(ImportTorchScript(*code, Options({6, 4})), IsOk());
  EXPECT_EQ(DrawFromGlobalGenerator(), expected);
}

TEST(TorchScriptImportTest, RefusesTruncatedAndForeignFiles) {
  const auto code = LinearWith("y = torch.relu(y)");
  ASSERT_THAT(code, IsOk());
  for (const size_t size : {size_t{0}, size_t{1}, size_t{100}, code->size() / 2,
                            code->size() - 1}) {
    EXPECT_THAT(ImportTorchScript(code->substr(0, size), Options({4})),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("not a complete TorchScript file")))
        << size;
  }
  EXPECT_THAT(ImportTorchScript("PK, but no model", Options({4})),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(TorchScriptImportTest, NamesAnUnknownOperator) {
  const auto code = CompileModelWithForgottenOperator();
  ASSERT_THAT(code, IsOk());
  EXPECT_THAT(ImportTorchScript(*code, Options({4})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("operator mledge_fixture::mystery,"),
                             HasSubstr(TorchVersion()),
                             HasSubstr("export the model without it"))));
}

TEST(TorchScriptImportTest, RefusesAWrongInputShape) {
  const auto code = LinearWith("y = torch.relu(y)");
  ASSERT_THAT(code, IsOk());
  EXPECT_THAT(ImportTorchScript(*code, Options({5})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("inputs of the given shape")));
  EXPECT_THAT(
      ImportTorchScript(*code, Options({0})),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the extent 0")));
  EXPECT_THAT(ImportTorchScript(*code, Options({int64_t{1} << 40, 1 << 30})),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(TorchScriptImportTest, RefusesAnOutputThatDoesNotFit) {
  const auto code = LinearWith("y = torch.relu(y)");
  ASSERT_THAT(code, IsOk());
  ImportOptions options = Options({4});
  options.output.shape = {7};
  EXPECT_THAT(ImportTorchScript(*code, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("said to have 7 values")));
  options.output.shape = {};
  options.loss = Loss::kBinaryCrossEntropy;
  EXPECT_THAT(ImportTorchScript(*code, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the model gives 3")));
  options.loss = Loss::kMeanSquaredError;
  EXPECT_THAT(ImportTorchScript(*code, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("does not fit the loss")));
  const auto single = LinearWith("y = torch.sum(y)");
  ASSERT_THAT(single, IsOk());
  EXPECT_THAT(ImportTorchScript(*single, Options({4})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("first extent is not the batch")));
}

TEST(TorchScriptImportTest, RefusesAForwardThatIsNotTensorToTensor) {
  const std::vector<FixtureTensor> tensors = {{"weight", {3, 4}}};
  const auto pair = CompileTorchScript(tensors, R"(
def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
  return torch.linear(x, self.weight), x
)");
  ASSERT_THAT(pair, IsOk());
  EXPECT_THAT(ImportTorchScript(*pair, Options({4})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("has to return one tensor")));
  const auto two = CompileTorchScript(tensors, R"(
def forward(self, x: Tensor, length: int) -> Tensor:
  return torch.linear(x, self.weight) * length
)");
  ASSERT_THAT(two, IsOk());
  EXPECT_THAT(ImportTorchScript(*two, Options({4})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("\"length\" has no default")));
}

TEST(TorchScriptImportTest, RefusesAModelWithoutTrainableParameters) {
  const auto code =
      CompileTorchScript({{"weight", {3, 4}, Kind::kFrozen}},
                         "def forward(self, x: Tensor) -> Tensor:\n"
                         "  return torch.linear(x, self.weight)\n");
  ASSERT_THAT(code, IsOk());
  EXPECT_THAT(ImportTorchScript(*code, Options({4})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("no trainable parameter")));
}

}  // namespace
}  // namespace mledge
