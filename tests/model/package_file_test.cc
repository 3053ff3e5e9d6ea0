#include "mledge/model/package_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>

#include "mledge/core/strings.h"
#include "mledge/tests/model/test_package.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_pki.h"
#include "mledge/v1/model.pb.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr size_t kFrame = 20;  // magic, version, length of the header

class PackageFileTest : public ::testing::Test {
 protected:
  PackageFileTest() : bytes_(SerializePackageFile(package_, signer_).value()) {}

  absl::StatusOr<PackageFile> Parse(std::string_view bytes) const {
    return ParsePackageFile(bytes, verifier_, pki_.now());
  }

  static std::string Frame(std::string_view header, std::string_view blobs) {
    std::string bytes("MLEDGEPK\x01\0\0\0", 12);
    const uint64_t size = header.size();
    bytes.append(reinterpret_cast<const char*>(&size), sizeof(size));
    return bytes.append(header).append(blobs);
  }
  uint64_t header_size() const {
    uint64_t size = 0;
    std::memcpy(&size, bytes_.data() + 12, sizeof(size));
    return size;
  }
  std::string blobs() const { return bytes_.substr(kFrame + header_size()); }
  v1::PackageManifest Manifest() const {
    v1::SignedMessage header;
    EXPECT_TRUE(header.ParseFromString(bytes_.substr(kFrame, header_size())));
    v1::PackageManifest manifest;
    EXPECT_TRUE(manifest.ParseFromString(header.payload()));
    return manifest;
  }
  // The file with another manifest under a good signature: what a careless or
  // newer tool of a trusted signer may write.
  std::string WithManifest(
      const std::function<void(v1::PackageManifest&)>& alter) const {
    v1::PackageManifest manifest = Manifest();
    alter(manifest);
    return Frame(signer_.Sign(kPackageContext, manifest.SerializeAsString())
                     .SerializeAsString(),
                 blobs());
  }

  const TestPki pki_;
  const Signer signer_ = pki_.MakeSigner(Role::kModelSigner, "mona");
  const SignatureVerifier verifier_ =
      pki_.MakeVerifier(kPackageContext, Role::kModelSigner, {"mona"});
  const ModelPackage package_ = MakeTestPackage();
  const std::string bytes_;
};

TEST_F(PackageFileTest, RoundTrips) {
  const absl::StatusOr<PackageFile> file = Parse(bytes_);
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ(file->signer, (Identity{Role::kModelSigner, "mona"}));
  EXPECT_EQ(file->sha256, Sha256Of(bytes_));
  const ModelPackage& read = file->package;
  EXPECT_EQ(read.name, package_.name);
  EXPECT_EQ(read.code, package_.code);
  EXPECT_EQ(read.layout->fingerprint(), package_.layout->fingerprint());
  EXPECT_EQ(read.initial_parameters.ContentHash(),
            package_.initial_parameters.ContentHash());
  EXPECT_EQ(read.input, package_.input);
  EXPECT_EQ(read.output, package_.output);
  EXPECT_EQ(read.loss, package_.loss);
  EXPECT_EQ(read.metric, package_.metric);
  EXPECT_EQ(read.channels_last, package_.channels_last);
}

TEST_F(PackageFileTest, RoundTripsRegressionAndIndexInput) {
  ModelPackage package = MakeTestPackage();
  package.loss = Loss::kMeanSquaredError;
  package.metric = Metric::kMeanSquaredError;
  package.input = {.shape = {80}, .kind = TensorSpec::Kind::kIndex};
  package.output = {.shape = {}};
  const absl::StatusOr<std::string> bytes =
      SerializePackageFile(package, signer_);
  ASSERT_THAT(bytes, IsOk());
  const absl::StatusOr<PackageFile> file = Parse(*bytes);
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ(file->package.loss, Loss::kMeanSquaredError);
  EXPECT_EQ(file->package.metric, Metric::kMeanSquaredError);
  EXPECT_EQ(file->package.input, package.input);
  EXPECT_EQ(file->package.output, package.output);
}

TEST_F(PackageFileTest, EveryAlteredByteIsRefused) {
  for (size_t i = 0; i < bytes_.size(); ++i) {
    std::string altered = bytes_;
    altered[i] = static_cast<char>(altered[i] ^ (i % 2 == 0 ? 0x01 : 0x80));
    EXPECT_FALSE(Parse(altered).ok()) << "byte " << i;
  }
}

TEST_F(PackageFileTest, EveryTruncationIsRefused) {
  for (size_t size = 0; size < bytes_.size(); ++size) {
    EXPECT_THAT(Parse(bytes_.substr(0, size)),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << size;
    EXPECT_FALSE(ParsePackageFileUnverified(bytes_.substr(0, size)).ok())
        << size;
  }
}

TEST_F(PackageFileTest, TruncationSaysWhere) {
  EXPECT_THAT(Parse(""), StatusIs(absl::StatusCode::kInvalidArgument,
                                  HasSubstr("this is no package")));
  EXPECT_THAT(Parse(bytes_.substr(0, 19)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("first 20 bytes")));
  EXPECT_THAT(Parse(bytes_.substr(0, kFrame + header_size() - 1)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("within its header")));
  EXPECT_THAT(
      Parse(bytes_.substr(0, bytes_.size() - 1)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("truncated")));
}

TEST_F(PackageFileTest, TrailingBytesAreRefused) {
  EXPECT_THAT(Parse(bytes_ + "x"), StatusIs(absl::StatusCode::kInvalidArgument,
                                            HasSubstr("by 1 bytes")));
}

TEST_F(PackageFileTest, NewerFormatIsToldApart) {
  std::string newer = bytes_;
  newer[8] = 2;
  EXPECT_THAT(Parse(newer), StatusIs(absl::StatusCode::kUnimplemented,
                                     HasSubstr("version 2")));
}

TEST_F(PackageFileTest, HugeHeaderIsRefusedBeforeItIsRead) {
  std::string huge = bytes_;
  std::memset(huge.data() + 12, 0xff, 8);
  EXPECT_THAT(Parse(huge), StatusIs(absl::StatusCode::kInvalidArgument,
                                    HasSubstr("header claims")));
}

TEST_F(PackageFileTest, ForeignSignerIsRefused) {
  const TestPki other(pki_.now(), "other");
  const absl::StatusOr<std::string> foreign = SerializePackageFile(
      package_, other.MakeSigner(Role::kModelSigner, "mona"));
  ASSERT_THAT(foreign, IsOk());
  EXPECT_THAT(Parse(*foreign), StatusIs(absl::StatusCode::kPermissionDenied,
                                        HasSubstr("trusted root")));
}

TEST_F(PackageFileTest, SignerThatIsNotTrustedIsNamed) {
  const absl::StatusOr<std::string> untrusted = SerializePackageFile(
      package_, pki_.MakeSigner(Role::kModelSigner, "mallory"));
  ASSERT_THAT(untrusted, IsOk());
  EXPECT_THAT(Parse(*untrusted), StatusIs(absl::StatusCode::kPermissionDenied,
                                          HasSubstr("mallory")));
  const absl::StatusOr<UnverifiedPackageFile> seen =
      ParsePackageFileUnverified(*untrusted);
  ASSERT_THAT(seen, IsOk());
  const Identity mallory{Role::kModelSigner, "mallory"};
  EXPECT_THAT(ClaimedSigner(seen->signed_manifest), IsOkAndHolds(mallory));
}

TEST_F(PackageFileTest, OtherRolesSignNoPackages) {
  EXPECT_THAT(SerializePackageFile(package_,
                                   pki_.MakeSigner(Role::kCoordinator, "mona")),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("signed by a model-signer")));
  // As if that check had been left out.
  const Signer operator_signer = pki_.MakeSigner(Role::kOperator, "mona");
  const std::string bytes = Frame(
      operator_signer.Sign(kPackageContext, Manifest().SerializeAsString())
          .SerializeAsString(),
      blobs());
  EXPECT_THAT(Parse(bytes), StatusIs(absl::StatusCode::kPermissionDenied,
                                     HasSubstr("role model-signer")));
}

TEST_F(PackageFileTest, SignatureForAnotherPurposeIsRefused) {
  const std::string bytes =
      Frame(signer_.Sign(kTaskContext, Manifest().SerializeAsString())
                .SerializeAsString(),
            blobs());
  EXPECT_THAT(Parse(bytes), StatusIs(absl::StatusCode::kPermissionDenied,
                                     HasSubstr("\"task\"")));
}

TEST_F(PackageFileTest, ExpiredSignerIsRefused) {
  EXPECT_THAT(
      ParsePackageFile(bytes_, verifier_, pki_.now() + TestPki::kValidity),
      StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(PackageFileTest, UnsignedFieldsInTheHeaderAreRefused) {
  v1::SignedMessage header;
  ASSERT_TRUE(header.ParseFromString(bytes_.substr(kFrame, header_size())));
  const std::string unknown_field("\x7a\x01x", 3);  // field 15
  EXPECT_THAT(
      Parse(Frame(header.SerializeAsString() + unknown_field, blobs())),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("does not know")));
}

TEST_F(PackageFileTest, UnknownFieldsInTheManifestAreRefused) {
  const std::string manifest =
      Manifest().SerializeAsString() + std::string("\x7a\x01x", 3);
  EXPECT_THAT(
      Parse(Frame(signer_.Sign(kPackageContext, manifest).SerializeAsString(),
                  blobs())),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("does not know")));
}

// Each row: what a trusted signer's tool did wrong, and what is said of it.
struct BadManifest {
  const char* name;
  std::function<void(v1::PackageManifest&)> alter;
  const char* message;
};

class BadManifestTest : public PackageFileTest,
                        public ::testing::WithParamInterface<BadManifest> {};

TEST_P(BadManifestTest, IsRefused) {
  EXPECT_THAT(Parse(WithManifest(GetParam().alter)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    Manifests, BadManifestTest,
    ::testing::Values(
        BadManifest{"EmptyName", [](auto& m) { m.clear_name(); }, "model name"},
        BadManifest{"NameThatIsAPath", [](auto& m) { m.set_name("../x"); },
                    "model name"},
        BadManifest{"NoFormat", [](auto& m) { m.clear_format(); }, "format"},
        BadManifest{"NoLoss", [](auto& m) { m.clear_loss(); }, "loss"},
        BadManifest{"UnknownLoss",
                    [](auto& m) {
                      m.set_loss(static_cast<v1::PackageManifest::Loss>(99));
                    },
                    "loss: unknown value 99"},
        BadManifest{"NegativeMetric",
                    [](auto& m) {
                      m.set_metric(
                          static_cast<v1::PackageManifest::Metric>(-1));
                    },
                    "metric: unknown value -1"},
        BadManifest{"UnknownElementType",
                    [](auto& m) {
                      m.mutable_layout(0)->set_element_type(
                          static_cast<v1::LayoutEntry::ElementType>(7));
                    },
                    "element type: unknown value 7"},
        BadManifest{"UnknownRole",
                    [](auto& m) {
                      m.mutable_layout(0)->set_role(
                          static_cast<v1::LayoutEntry::Role>(5));
                    },
                    "role: unknown value 5"},
        BadManifest{"MetricOfAnotherKind",
                    [](auto& m) {
                      m.set_metric(
                          v1::PackageManifest::METRIC_MEAN_SQUARED_ERROR);
                    },
                    "does not go with the loss"},
        BadManifest{"CrossEntropyWithOneClass",
                    [](auto& m) { m.mutable_output()->set_shape(0, 1); },
                    "at least two classes"},
        BadManifest{"IndexOutput",
                    [](auto& m) {
                      m.mutable_output()->set_kind(v1::TensorSpec::INDEX);
                    },
                    "kind float"},
        BadManifest{"ZeroInput",
                    [](auto& m) { m.mutable_input()->set_shape(0, 0); },
                    "the input has the dimension 0"},
        BadManifest{"NegativeInput",
                    [](auto& m) { m.mutable_input()->set_shape(0, -5); },
                    "the input has the dimension -5"},
        BadManifest{"OverflowingInput",
                    [](auto& m) {
                      m.mutable_input()->set_shape(0, int64_t{1} << 39);
                      m.mutable_input()->add_shape(int64_t{1} << 39);
                    },
                    "the input has the dimension"},
        BadManifest{"TooManyDimensions",
                    [](auto& m) {
                      for (int i = 0; i < 8; ++i) {
                        m.mutable_input()->add_shape(1);
                      }
                    },
                    "9 dimensions"},
        BadManifest{"LargerLayout",
                    [](auto& m) { m.mutable_layout(1)->set_shape(0, 4); },
                    "where the layout has"},
        BadManifest{"HugeLayout",
                    [](auto& m) {
                      m.mutable_layout(0)->set_shape(0, int64_t{1} << 40);
                      m.mutable_layout(4)->set_shape(0, int64_t{1} << 40);
                    },
                    "where the layout has"},
        BadManifest{"OverflowingLayout",
                    [](auto& m) {
                      m.mutable_layout(0)->set_shape(0, int64_t{1} << 62);
                      m.mutable_layout(0)->set_shape(1, int64_t{1} << 62);
                    },
                    "fc.weight"},
        BadManifest{"NegativeLayout",
                    [](auto& m) { m.mutable_layout(1)->set_shape(0, -3); },
                    "fc.bias"},
        BadManifest{"DuplicateEntry",
                    [](auto& m) { m.mutable_layout(1)->set_name("fc.weight"); },
                    "fc.weight"},
        BadManifest{"AliasOfNothing",
                    [](auto& m) { m.mutable_layout(4)->set_alias_of("nope"); },
                    "nope"},
        BadManifest{"NoLayout", [](auto& m) { m.clear_layout(); },
                    "the layout has 0 values"},
        BadManifest{
            "CodeHash",
            [](auto& m) { (*m.mutable_code()->mutable_sha256())[0] ^= 1; },
            "code: SHA-256"},
        BadManifest{"ShortHash",
                    [](auto& m) { m.mutable_code()->set_sha256("short"); },
                    "code: "},
        BadManifest{"ParameterHash",
                    [](auto& m) {
                      (*m.mutable_initial_parameters()->mutable_sha256())[31] ^=
                          1;
                    },
                    "initial parameters: SHA-256"},
        BadManifest{
            "OversizedCode",
            [](auto& m) { m.mutable_code()->set_size_in_bytes(~uint64_t{0}); },
            "truncated"},
        BadManifest{"SizesThatOverflowWhenAdded",
                    [](auto& m) {
                      m.mutable_initial_parameters()->set_size_in_bytes(
                          ~uint64_t{0} - m.code().size_in_bytes() + 1);
                    },
                    "truncated"},
        BadManifest{"ShiftedBoundary",
                    [](auto& m) {
                      m.mutable_code()->set_size_in_bytes(
                          m.code().size_in_bytes() + 4);
                      m.mutable_initial_parameters()->set_size_in_bytes(
                          m.initial_parameters().size_in_bytes() - 4);
                    },
                    "code: SHA-256"}),
    [](const auto& info) { return info.param.name; });

class BadPackageTest : public PackageFileTest {
 protected:
  absl::Status Refused(const std::function<void(ModelPackage&)>& alter) const {
    ModelPackage package = MakeTestPackage();
    alter(package);
    return SerializePackageFile(package, signer_).status();
  }
};

TEST_F(BadPackageTest, ValuesThatAreNotFiniteAreNamedByEntryAndPosition) {
  EXPECT_THAT(Refused([](ModelPackage& p) {
                p.initial_parameters.values()[7] =
                    std::numeric_limits<float>::quiet_NaN();
              }),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("fc.bias[1]"), HasSubstr("nan"))));
  EXPECT_THAT(Refused([](ModelPackage& p) {
                p.initial_parameters.values()[10] =
                    -std::numeric_limits<float>::infinity();
              }),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("norm.mean[1]"), HasSubstr("-inf"))));
}

TEST_F(BadPackageTest, ValuesThatAreNotFiniteAreRefusedWhenRead) {
  std::string parameters = blobs().substr(package_.code.size());
  const float infinity = std::numeric_limits<float>::infinity();
  std::memcpy(parameters.data() + 4 * sizeof(float), &infinity, sizeof(float));
  v1::PackageManifest manifest = Manifest();
  manifest.mutable_initial_parameters()->set_sha256(
      Sha256Of(parameters).ToBytes());
  EXPECT_THAT(
      Parse(Frame(signer_.Sign(kPackageContext, manifest.SerializeAsString())
                      .SerializeAsString(),
                  package_.code + parameters)),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("fc.weight[4]"), HasSubstr("finite"))));
}

TEST_F(BadPackageTest, NoCodeIsRefused) {
  EXPECT_THAT(
      Refused([](ModelPackage& p) { p.code.clear(); }),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no code")));
}

TEST_F(BadPackageTest, ParametersOfAnotherLayoutAreRefused) {
  EXPECT_THAT(
      Refused([](ModelPackage& p) {
        p.initial_parameters = ParameterVector(
            ParameterLayout::Create({{.name = "x", .shape = {11}}}).value());
      }),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("not of the model's layout")));
  EXPECT_THAT(
      Refused([](ModelPackage& p) { p.layout = nullptr; }),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no parameters")));
}

TEST_F(BadPackageTest, LayoutTooLargeForTheHeaderIsRefused) {
  ModelPackage package = MakeTestPackage();
  std::vector<ParameterEntry> entries;
  for (int i = 0; i < 5000; ++i) {
    entries.push_back({.name = StrCat(std::string(1000, 'x'), i)});
  }
  package.layout = ParameterLayout::Create(std::move(entries)).value();
  package.initial_parameters = ParameterVector(package.layout);
  EXPECT_THAT(SerializePackageFile(package, signer_),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("5000 layout entries")));
}

}  // namespace
}  // namespace mledge
