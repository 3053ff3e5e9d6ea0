#include "mledge/task/strict_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mledge/tests/support/proto_matchers.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/v1/device_service.pb.h"
#include "mledge/v1/task.pb.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

absl::Status Parse(std::string_view text, google::protobuf::Message* out) {
  return ParseYamlInto(text, "t.yaml", out);
}

// Every refusal names the file and is the writer's mistake.
void ExpectRefused(std::string_view text, const std::string& start,
                   const std::string& part) {
  v1::Task task;
  EXPECT_THAT(Parse(text, &task),
              StatusIs(StatusCode::kInvalidArgument,
                       AllOf(StartsWith(start), HasSubstr(part))))
      << text;
}

TEST(StrictMessageTest, ReadsEveryKindOfField) {
  v1::Task task;
  ASSERT_THAT(Parse(R"(# a comment
name: my-task
seed: 18446744073709551615
model:
  built_in: {architecture: mlp, hidden: [64, 32], regression: true}
local_training:
  epochs: 5
  sgd: {learning_rate: 1e-1, momentum: .5}
cohort:
  size: 10
  deadline: 1h30m
aggregation:
  weighting: uniform
secure_aggregation: {mode: off}
)",
                    &task),
              IsOk());
  EXPECT_THAT(task, EqualsProto(R"pb(
                name: "my-task"
                seed: 18446744073709551615
                model {
                  built_in {
                    architecture: "mlp"
                    hidden: 64
                    hidden: 32
                    regression: true
                  }
                }
                local_training {
                  epochs: 5
                  sgd { learning_rate: 0.1 momentum: 0.5 }
                }
                cohort {
                  size: 10
                  deadline { seconds: 5400 }
                }
                aggregation { weighting: UNIFORM }
                secure_aggregation { mode: OFF })pb"));
}

TEST(StrictMessageTest, ReadsJson) {
  v1::Task task;
  ASSERT_THAT(Parse("{\"name\": \"a\\u00e4\", \"seed\":7,\n\t\"cohort\": "
                    "{\"size\": 3, \"deadline\": \"250ms\"}}",
                    &task),
              IsOk());
  EXPECT_THAT(task, EqualsProto(R"pb(name: "aä"
                                     seed: 7
                                     cohort {
                                       size: 3
                                       deadline { nanos: 250000000 }
                                     })pb"));
}

TEST(StrictMessageTest, EmptyTextSetsNothing) {
  for (const char* text : {"", "\n", "# only a comment\n", "---\n", "{}"}) {
    v1::Task task;
    EXPECT_THAT(Parse(text, &task), IsOk()) << text;
    EXPECT_THAT(task, EqualsProto(""));
  }
}

TEST(StrictMessageTest, EmptyMessageSelectsItsOneof) {
  for (const char* text :
       {"partition: {iid: {}}", "partition:\n  iid:\n", "partition: {iid: }"}) {
    v1::Simulation simulation;
    EXPECT_THAT(Parse(text, &simulation), IsOk()) << text;
    EXPECT_THAT(simulation, EqualsProto("partition { iid {} }"));
  }
}

TEST(StrictMessageTest, KeepsPresenceOfAnExplicitZero) {
  v1::Task task;
  ASSERT_THAT(Parse("local_training: {batch_size: 0}", &task), IsOk());
  EXPECT_TRUE(task.local_training().has_batch_size());
  v1::Task absent;
  ASSERT_THAT(Parse("local_training: {}", &absent), IsOk());
  EXPECT_FALSE(absent.local_training().has_batch_size());
}

TEST(StrictMessageTest, EnumerationsTakeHyphensAndUnderscores) {
  for (const char* text : {"metric: metric-mean-squared-error",
                           "metric: metric_mean_squared_error",
                           "metric: \"metric-mean-squared-error\""}) {
    v1::PackageManifest manifest;
    EXPECT_THAT(Parse(text, &manifest), IsOk()) << text;
    EXPECT_EQ(manifest.metric(),
              v1::PackageManifest::METRIC_MEAN_SQUARED_ERROR);
  }
}

TEST(StrictMessageTest, BytesAreHexadecimal) {
  v1::Blob blob;
  ASSERT_THAT(Parse("sha256: \"00fFa0\"", &blob), IsOk());
  EXPECT_EQ(blob.sha256(), std::string("\0\xff\xa0", 3));
  EXPECT_THAT(Parse("sha256: \"0\"", &blob),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("hexadecimal")));
  EXPECT_THAT(Parse("sha256: xy", &blob),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("hexadecimal")));
}

TEST(StrictMessageTest, UnknownFieldNamesPlacePathAndNearestName) {
  ExpectRefused("name: a\nlocal_training:\n  epoch: 3\n",
                "t.yaml:3:3: local_training.epoch: unknown field",
                "did you mean \"epochs\"?");
}

TEST(StrictMessageTest, UnknownFieldFarFromAllListsTheValidOnes) {
  v1::StopRule stop;
  EXPECT_THAT(Parse("until: 3", &stop),
              StatusIs(StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("valid: rounds, target_metric"),
                             Not(HasSubstr("did you mean")))));
}

TEST(StrictMessageTest, UnknownEnumerationValueNamesTheNearest) {
  ExpectRefused("aggregation: {weighting: example}",
                "t.yaml:1:26: aggregation.weighting: ",
                "did you mean \"examples\"? (valid: examples, uniform)");
  ExpectRefused("aggregation: {weighting: EXAMPLES}",
                "t.yaml:1:26:", "valid: examples, uniform");
  ExpectRefused("aggregation: {weighting: 1}", "t.yaml:1:26:", "found 1");
}

TEST(StrictMessageTest, UnspecifiedCannotBeWritten) {
  ExpectRefused("secure_aggregation: {mode: mode-unspecified}",
                "t.yaml:1:", "valid: off");
}

TEST(StrictMessageTest, IllTypedValueNamesExpectationAndFinding) {
  ExpectRefused("seed: [1]", "t.yaml:1:7: seed: ", "found a list");
  ExpectRefused("seed: {a: 1}", "t.yaml:1:7: seed: ", "found named fields");
  ExpectRefused("seed:", "t.yaml:1:", "found nothing");
  ExpectRefused("seed: ~", "t.yaml:1:7: seed: ", "found nothing");
  ExpectRefused("seed: soon", "t.yaml:1:7: seed: expected a whole number",
                "found the text \"soon\"");
  ExpectRefused("seed: \"7\"", "t.yaml:1:7: seed: ", "the text \"7\"");
  ExpectRefused("cohort: 3", "t.yaml:1:9: cohort: expected fields", "found 3");
  ExpectRefused("cohort: [size]", "t.yaml:1:9: cohort: ", "found a list");
  ExpectRefused("name: [a]", "t.yaml:1:7: name: expected text", "a list");
  ExpectRefused("name:", "t.yaml:1:", "expected text, found nothing");
  ExpectRefused("model: {built_in: {regression: yes}}", "t.yaml:1:32: ",
                "expected true or false, found the text \"yes\"");
  ExpectRefused("model: {built_in: {hidden: 3}}",
                "t.yaml:1:28: ", "expected a list such as [a, b], found 3");
  ExpectRefused("model: {built_in: {hidden: [3, x]}}",
                "t.yaml:1:32: model.built_in.hidden[1]: ", "\"x\"");
  ExpectRefused("- a", "t.yaml:1:1: expected fields", "found a list");
}

TEST(StrictMessageTest, WholeNumbersHaveNoPointExponentOrOtherBase) {
  for (const char* value : {"1.5", "1.0", "1e3", "0x10", "010", "1_000", "1,0",
                            "--1", "+", "inf", ".nan", "true"}) {
    v1::Cohort cohort;
    EXPECT_THAT(Parse(std::string("size: '") + value + "'", &cohort),
                StatusIs(StatusCode::kInvalidArgument));
    EXPECT_THAT(Parse(std::string("size: ") + value, &cohort),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("size")))
        << value;
  }
}

TEST(StrictMessageTest, WholeNumbersOutOfRangeAreRefused) {
  v1::Cohort cohort;
  EXPECT_THAT(Parse("size: 9223372036854775807", &cohort), IsOk());
  EXPECT_THAT(
      Parse("size: 9223372036854775808", &cohort),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("9223372036854775807")));
  ExpectRefused("seed: -1", "t.yaml:1:7: seed: ", "from 0 to");
  ExpectRefused("seed: 18446744073709551616", "t.yaml:1:7: seed: ", "");
  v1::CheckInRequest request;  // uint32
  EXPECT_THAT(Parse("protocol_version: 4294967296", &request),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("4294967295")));
}

TEST(StrictMessageTest, NumbersThatAreNotFiniteOrTooLargeAreRefused) {
  for (const char* value :
       {"nan", ".nan", ".inf", "-inf", "infinity", "1e999", "0x1p3", "1.2.3",
        "1e", ".", "e5", "1e5.5", "'1'"}) {
    v1::SgdOptimizer sgd;
    EXPECT_THAT(
        Parse(std::string("learning_rate: ") + value, &sgd),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("learning_rate")))
        << value;
  }
  v1::IdxData idx;  // float
  EXPECT_THAT(Parse("mean: 3.4e38", &idx), IsOk());
  EXPECT_THAT(Parse("mean: 3.5e38", &idx),
              StatusIs(StatusCode::kInvalidArgument));
}

TEST(StrictMessageTest, DurationsNeedAUnitAndAnEnd) {
  for (const char* value : {"90", "soon", "inf", "1e30h", "[]", "", "1 m"}) {
    v1::Cohort cohort;
    EXPECT_THAT(Parse(std::string("deadline: ") + value, &cohort),
                StatusIs(StatusCode::kInvalidArgument,
                         HasSubstr("a duration such as 90s, 10m or 1h30m")))
        << value;
  }
}

TEST(StrictMessageTest, RefusesAFieldGivenTwice) {
  ExpectRefused("name: a\nseed: 1\nname: b\n", "t.yaml:3:1: name: given twice",
                "first on line 1");
}

TEST(StrictMessageTest, RefusesTwoMembersOfAOneofNamingBoth) {
  ExpectRefused("local_training:\n  epochs: 1\n  steps: 2\n",
                "t.yaml:3:3: local_training.steps: only one of",
                "\"epochs\" and \"steps\"");
}

TEST(StrictMessageTest, RefusesAnchorsAliasesAndTags) {
  ExpectRefused("name: &a x", "t.yaml:1:", "anchor");
  ExpectRefused("cohort: &a {size: 1}", "t.yaml:1:", "anchor");
  ExpectRefused("cohort: {size: 1}\nmodel: *a\n", "t.yaml:2:", "");
  ExpectRefused("seed: !!int 1", "t.yaml:1:", "tag");
  ExpectRefused("cohort: !x {size: 1}", "t.yaml:1:", "tag");
}

TEST(StrictMessageTest, RefusesABillionLaughs) {
  std::string text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c <= 'j'; ++c) {
    const std::string previous(1, static_cast<char>(c - 1));
    text += std::string(1, c) + ": &" + c + " [*" + previous;
    for (int i = 0; i < 9; ++i) text += ", *" + previous;
    text += "]\n";
  }
  ExpectRefused(text, "t.yaml:1:", "anchor");
}

TEST(StrictMessageTest, RefusesSeveralDocuments) {
  ExpectRefused("name: a\n---\nname: b\n", "t.yaml: a second document", "");
}

TEST(StrictMessageTest, RefusesTextThatIsNotYaml) {
  ExpectRefused("name: [a", "t.yaml:", "not YAML");
  ExpectRefused("name: \"a", "t.yaml:", "not YAML");
  ExpectRefused("name: a\n\tseed: 1", "t.yaml:", "");
  ExpectRefused("{name: a}}", "t.yaml:", "");
  ExpectRefused("[a]: b", "t.yaml:1:", "");
}

TEST(StrictMessageTest, RefusesBytesThatAreNoText) {
  ExpectRefused(std::string("name: a\nseed\0: 1", 15), "t.yaml:2:5: ", "UTF-8");
  ExpectRefused("name: \xff", "t.yaml:1:7: ", "UTF-8");
  ExpectRefused("name: \xc0\xaf", "t.yaml:1:7: ", "UTF-8");      // overlong
  ExpectRefused("name: \xed\xa0\x80", "t.yaml:1:7: ", "UTF-8");  // surrogate
  ExpectRefused("name: \xf4\x90\x80\x80", "t.yaml:1:7: ", "UTF-8");
  ExpectRefused("name: \xe2\x82", "t.yaml:1:7: ", "UTF-8");  // cut off
  v1::Task task;
  EXPECT_THAT(Parse("name: \xf0\x9f\x98\x80 \xe2\x82\xac", &task), IsOk());
}

TEST(StrictMessageTest, RefusesDeepNesting) {
  ExpectRefused("name: " + std::string(100, '[') + std::string(100, ']'),
                "t.yaml:1:", "deeper than 32");
  std::string blocks;
  for (int i = 0; i < 5000; ++i) blocks += "[";
  ExpectRefused(blocks, "t.yaml:", "");
}

TEST(StrictMessageTest, RefusesOversizedText) {
  ExpectRefused("# " + std::string(kMaximumTextSizeInBytes, 'x'),
                "t.yaml: ", "at most 4194304");
}

TEST(StrictMessageTest, LongValuesAreCutInMessages) {
  v1::Task task;
  const absl::Status status = Parse("seed: " + std::string(100000, 'x'), &task);
  EXPECT_THAT(status, StatusIs(StatusCode::kInvalidArgument));
  EXPECT_LT(status.message().size(), 300u);
  const absl::Status unknown = Parse(std::string(100000, 'x') + ": 1", &task);
  EXPECT_THAT(unknown, StatusIs(StatusCode::kInvalidArgument));
}

TEST(SetFieldTest, SetsScalarsListsMessagesAndDurations) {
  v1::Task task;
  for (const char* assignment :
       {"local_training.sgd.learning_rate=0.25", "model.built_in.hidden=[3, 4]",
        "cohort={size: 5}", "cohort.deadline=90s", "population=phones",
        " seed = 9"}) {
    EXPECT_THAT(SetField(&task, assignment), IsOk()) << assignment;
  }
  EXPECT_THAT(task, EqualsProto(R"pb(
                seed: 9
                population: "phones"
                model { built_in { hidden: 3 hidden: 4 } }
                local_training { sgd { learning_rate: 0.25 } }
                cohort {
                  size: 5
                  deadline { seconds: 90 }
                })pb"));
}

TEST(SetFieldTest, ReplacesWhatWasThere) {
  v1::Task task;
  ASSERT_THAT(Parse("model: {built_in: {hidden: [1, 2]}}\n"
                    "local_training: {epochs: 3, sgd: {learning_rate: 1}}\n"
                    "cohort: {size: 5, minimum: 2}\n",
                    &task),
              IsOk());
  EXPECT_THAT(SetField(&task, "model.built_in.hidden=[9]"), IsOk());
  EXPECT_THAT(SetField(&task, "local_training.steps=7"), IsOk());
  EXPECT_THAT(SetField(&task, "local_training.adam.learning_rate=0.5"), IsOk());
  EXPECT_THAT(SetField(&task, "cohort={size: 6}"), IsOk());
  EXPECT_THAT(task, EqualsProto(R"pb(
                model { built_in { hidden: 9 } }
                local_training {
                  steps: 7
                  adam { learning_rate: 0.5 }
                }
                cohort { size: 6 })pb"));
}

TEST(SetFieldTest, RefusesAsStrictlyAsAFile) {
  const struct {
    const char* assignment;
    const char* part;
  } cases[] = {
      {"seed", "expected FIELD=VALUE"},
      {"=1", "expected FIELD=VALUE"},
      {"", "expected FIELD=VALUE"},
      {"sede=1", "did you mean \"seed\"?"},
      {"local_training.sdg.learning_rate=1", "did you mean \"sgd\"?"},
      {"local_training..epochs=1", "unknown field"},
      {"local_training.=1", "unknown field"},
      {"seed.x=1", "no fields of its own"},
      {"model.built_in.hidden.x=1", "no fields of its own"},
      {"cohort.deadline.seconds=1", "no fields of its own"},
      {"seed=1.5", "expected a whole number"},
      {"seed=", "found nothing"},
      {"seed=&a 1", "anchor"},
      {"cohort={sice: 1}", "did you mean \"size\"?"},
      {"aggregation.weighting=exampels", "did you mean \"examples\"?"},
  };
  for (const auto& [assignment, part] : cases) {
    v1::Task task;
    EXPECT_THAT(SetField(&task, assignment),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(part)))
        << assignment;
  }
}

TEST(MessageToYamlTest, ReadsBackIntoAnEqualMessage) {
  v1::Task task;
  ASSERT_THAT(Parse(R"(
name: "007"
seed: 18446744073709551615
population: "null"
model: {built_in: {architecture: mlp, inputs: 3, hidden: [64, 32]}}
local_training: {steps: 1, batch_size: 0, adam: {learning_rate: 1.2345678901234567e-300, beta1: 0}}
cohort: {size: 10, deadline: 1m30s, minimum_interval: 1500us}
aggregation: {weighting: uniform, value_bound: 0.1}
secure_aggregation: {mode: off}
stop: {rounds: 1, target_metric: -0}
simulation:
  training_data:
    csv:
      file: "a: b # \"c\" \\ d\n\te"
      features: ["", "#", " x ", "ä€😀", "~", "true", "-", "a b", "[x]"]
      feature_mean: [0.1, 3.4e38, -1e-45]
      categorical: [{column: x, values: [y, "n"]}, {}]
  partition: {iid: {}}
)",
                    &task),
              IsOk());
  const std::string yaml = MessageToYaml(task);
  v1::Task again;
  ASSERT_THAT(Parse(yaml, &again), IsOk()) << yaml;
  EXPECT_THAT(again, EqualsProto(task));
  EXPECT_EQ(again.SerializeAsString(), task.SerializeAsString());
}

TEST(MessageToYamlTest, WritesWhatPeopleWrite) {
  v1::Task task;
  ASSERT_THAT(Parse("name: my-task\nsimulation: {partition: {iid: {}}}\n"
                    "secure_aggregation: {mode: off}\n",
                    &task),
              IsOk());
  EXPECT_EQ(MessageToYaml(task),
            "name: my-task\n"
            "secure_aggregation:\n"
            "  mode: off\n"
            "simulation:\n"
            "  devices: 0\n"
            "  partition:\n"
            "    iid: {}\n"
            "  noise_cohort: 0\n"
            "  secure_aggregation: protocol\n");
}

}  // namespace
}  // namespace mledge
