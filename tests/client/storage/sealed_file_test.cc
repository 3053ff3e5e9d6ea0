#include "mledge/client/storage/sealed_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "mledge/client/storage/state_cipher.h"
#include "mledge/client/storage/state_key.h"
#include "mledge/core/file.h"
#include "mledge/core/strings.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kPiece = kSealedPieceBytes;
constexpr uint64_t kHeader = 32;
constexpr uint64_t kSealedPiece = kPiece + StateCipher::kOverhead;

SecretBytes Key(uint8_t fill) {
  SecretBytes key(StateKey::kSizeInBytes);
  for (uint8_t& byte : key.mutable_bytes(RevealSecret())) byte = fill;
  return key;
}

std::shared_ptr<const StateCipher> Cipher(uint8_t key = 1,
                                          std::string_view salt = "salt") {
  return std::make_shared<const StateCipher>(Key(key), salt);
}

std::string Content(size_t size) {
  std::string content(size, '\0');
  for (size_t i = 0; i < size; ++i) {
    content[i] = static_cast<char>(i * 7 % 251 + i / 65536);
  }
  return content;
}

std::span<const uint8_t> AsBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

TEST(StateCipherTest, OpensOnlyUnderItsLabelKeyAndSalt) {
  const std::string sealed = Cipher()->SealRecord("label", AsBytes("plain"));
  EXPECT_THAT(sealed, Not(HasSubstr("plain")));
  const auto open = [](const StateCipher& cipher, std::string_view label,
                       const std::string& bytes,
                       StateCipher::Use use = StateCipher::Use::kRecord) {
    std::string plain(bytes.size() - StateCipher::kOverhead, 'x');
    const absl::Status status =
        cipher.Open(use, label, AsBytes(bytes),
                    {reinterpret_cast<uint8_t*>(plain.data()), plain.size()});
    return status.ok() ? plain : std::string(status.message());
  };
  EXPECT_EQ(open(*Cipher(), "label", sealed), "plain");
  EXPECT_THAT(open(*Cipher(), "another", sealed), HasSubstr("altered"));
  EXPECT_THAT(open(*Cipher(2), "label", sealed), HasSubstr("altered"));
  EXPECT_THAT(open(*Cipher(1, "pepper"), "label", sealed),
              HasSubstr("altered"));
  EXPECT_THAT(open(*Cipher(), "label", sealed, StateCipher::Use::kFilePiece),
              HasSubstr("altered"));
  for (size_t i = 0; i < sealed.size(); ++i) {
    std::string altered = sealed;
    altered[i] ^= 1;
    EXPECT_THAT(open(*Cipher(), "label", altered), HasSubstr("altered")) << i;
  }
  EXPECT_NE(Cipher()->SealRecord("label", AsBytes("plain")), sealed);
  EXPECT_EQ(open(*Cipher(), "", Cipher()->SealRecord("", {})), "");
}

TEST(StateCipherTest, NamesAndKeyCheckDependOnTheKey) {
  const Digest digest = Sha256Of(std::string_view("task"));
  EXPECT_EQ(Cipher()->NameOf("blob", digest), Cipher()->NameOf("blob", digest));
  EXPECT_NE(Cipher()->NameOf("blob", digest), Cipher()->NameOf("task", digest));
  EXPECT_NE(Cipher()->NameOf("blob", digest),
            Cipher(2)->NameOf("blob", digest));
  EXPECT_NE(Cipher()->NameOf("blob", digest), digest.ToHex());
  EXPECT_EQ(Cipher()->KeyCheck(), Cipher()->KeyCheck());
  EXPECT_NE(Cipher()->KeyCheck(), Cipher(2)->KeyCheck());
  EXPECT_NE(Cipher()->KeyCheck(), Cipher(1, "pepper")->KeyCheck());
}

class SealedFileTest : public ::testing::Test {
 protected:
  std::string Path(std::string_view name = "file") {
    return directory_.File(name);
  }
  std::string Write(size_t size, std::string_view name = "file") {
    const std::string content = Content(size);
    EXPECT_THAT(WriteSealedFile(cipher_, Path(name), "test", content), IsOk());
    return content;
  }
  absl::StatusOr<std::string> Read(std::string_view name = "file") {
    return ReadSealedFile(cipher_, Path(name), "test");
  }
  void Replace(std::string_view name, const std::string& bytes) {
    std::ofstream(Path(name), std::ios::binary) << bytes;
  }

  TempDirectory directory_;
  const std::shared_ptr<const StateCipher> cipher_ = Cipher();
};

TEST_F(SealedFileTest, ComesBackInEverySize) {
  for (const size_t size : {size_t{0}, size_t{1}, kPiece - 1, kPiece,
                            kPiece + 1, 3 * kPiece, 3 * kPiece + 17}) {
    SCOPED_TRACE(size);
    const std::string content = Write(size);
    EXPECT_THAT(Read(), IsOkAndHolds(content));
    EXPECT_EQ(fs::file_size(Path()), SealedSize(size));
    EXPECT_EQ(fs::status(Path()).permissions() & fs::perms::all,
              fs::perms::owner_read | fs::perms::owner_write);
    if (size > 20) {
      EXPECT_EQ(ReadFile(Path())->find(content.substr(0, 20)),
                std::string::npos);
    }
  }
}

TEST_F(SealedFileTest, IsReadFromAnywhere) {
  const std::string content = Write(2 * kPiece + 100);
  const auto file = SealedFileReader::Open(cipher_, Path(), "test");
  ASSERT_THAT(file, IsOk());
  for (const uint64_t offset : {uint64_t{0}, kPiece - 3, kPiece, 2 * kPiece}) {
    for (const uint64_t size : {uint64_t{0}, uint64_t{1}, uint64_t{100}}) {
      EXPECT_THAT((*file)->Read(offset, size),
                  IsOkAndHolds(content.substr(offset, size)))
          << offset << " " << size;
    }
  }
  EXPECT_THAT((*file)->Read(content.size(), 0), IsOkAndHolds(""));
  EXPECT_THAT((*file)->Read(content.size(), 1),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT((*file)->Read(1, UINT64_MAX),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(SealedFileTest, CutOffAnywhereIsFound) {
  Write(2 * kPiece + 100);
  const std::string whole = *ReadFile(Path());
  for (const uint64_t size :
       {uint64_t{0}, uint64_t{10}, kHeader, kHeader + 27, kHeader + 28,
        kHeader + kSealedPiece, kHeader + 2 * kSealedPiece,
        kHeader + 2 * kSealedPiece + 28, uint64_t{whole.size() - 1}}) {
    Replace("file", whole.substr(0, size));
    EXPECT_THAT(Read(),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr(Path())))
        << size;
  }
}

TEST_F(SealedFileTest, MovedMixedAndAlteredPiecesAreFound) {
  Write(3 * kPiece);
  const std::string whole = *ReadFile(Path());
  Write(3 * kPiece, "other");
  const std::string other = *ReadFile(Path("other"));
  const auto piece = [](const std::string& file, uint64_t index) {
    return file.substr(kHeader + index * kSealedPiece, kSealedPiece);
  };
  const std::string header = whole.substr(0, kHeader);
  const auto expect_damaged = [this](const std::string& bytes) {
    Replace("file", bytes);
    EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kDataLoss));
  };
  expect_damaged(
      StrCat(header, piece(whole, 1), piece(whole, 0), piece(whole, 2)));
  expect_damaged(
      StrCat(header, piece(whole, 0), piece(other, 1), piece(whole, 2)));
  expect_damaged(StrCat(header, piece(whole, 0), piece(whole, 1)));
  expect_damaged(StrCat(whole, piece(whole, 2)));
  expect_damaged(StrCat(other.substr(0, kHeader), whole.substr(kHeader)));
  for (const uint64_t at : {uint64_t{3}, uint64_t{20}, kHeader + 3,
                            kHeader + 100, kHeader + kSealedPiece - 1}) {
    std::string altered = whole;
    altered[at] ^= 1;
    expect_damaged(altered);
  }
  Replace("file", whole);
  EXPECT_THAT(Read(), IsOk());
}

TEST_F(SealedFileTest, IsOfOnePurposeAndOneKey) {
  Write(100);
  EXPECT_THAT(ReadSealedFile(cipher_, Path(), "another"),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(ReadSealedFile(Cipher(2), Path(), "test"),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(ReadSealedFile(cipher_, Path("absent"), "test"),
              StatusIs(absl::StatusCode::kNotFound));
}

// Wherever a writer was cut off, the next one goes on behind the last whole
// piece, and the file is as if nothing had happened.
TEST_F(SealedFileTest, GoesOnAfterACutAnywhere) {
  const std::string content = Content(3 * kPiece);
  {
    const auto writer = SealedFileWriter::Create(cipher_, Path(), "test");
    ASSERT_THAT((*writer)->Append(content), IsOk());
    ASSERT_THAT((*writer)->Finish(), IsOk());
  }
  const std::string whole = *ReadFile(Path());
  for (const uint64_t cut :
       {uint64_t{0}, uint64_t{20}, kHeader, kHeader + 50,
        kHeader + kSealedPiece - 1, kHeader + kSealedPiece,
        kHeader + 2 * kSealedPiece + 5, uint64_t{whole.size()}}) {
    SCOPED_TRACE(cut);
    Replace("file", whole.substr(0, cut));
    const auto writer = SealedFileWriter::Resume(cipher_, Path(), "test");
    ASSERT_THAT(writer, IsOk());
    const uint64_t offset = (*writer)->offset();
    EXPECT_EQ(offset % kPiece, 0u);
    if (cut < whole.size()) {
      EXPECT_EQ(offset,
                cut < kHeader ? 0 : (cut - kHeader) / kSealedPiece * kPiece);
    }
    ASSERT_THAT((*writer)->Append(std::string_view(content).substr(offset)),
                IsOk());
    ASSERT_THAT((*writer)->Finish(), IsOk());
    EXPECT_THAT(Read(), IsOkAndHolds(content));
  }
}

TEST_F(SealedFileTest, ResumedFileWithADamagedLastPieceStartsOver) {
  Replace("file", StrCat("mledge-sealed-1\n", std::string(16, 'i'),
                         std::string(kSealedPiece, 'x')));
  const auto writer = SealedFileWriter::Resume(cipher_, Path(), "test");
  ASSERT_THAT(writer, IsOk());
  EXPECT_EQ((*writer)->offset(), 0u);
}

TEST(FileStateKeyTest, IsMadeOnceAndReadByItsOwnerOnly) {
  TempDirectory directory;
  const std::string path = directory.File("state.key");
  const auto key = MakeFileStateKey(path);
  EXPECT_THAT(key->Load(), StatusIs(absl::StatusCode::kNotFound));
  const auto made = key->Create();
  ASSERT_THAT(made, IsOk());
  EXPECT_EQ(made->size(), StateKey::kSizeInBytes);
  // Until it is confirmed it is nobody's, and there is no second one.
  EXPECT_THAT(key->Load(), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(key->Create(), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_TRUE(
      MakeFileStateKey(path)->LoadUnconfirmed()->EqualsConstantTime(*made));
  EXPECT_THAT(MakeFileStateKey(path)->Confirm(), IsOk());
  EXPECT_THAT(key->LoadUnconfirmed(), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(fs::status(path).permissions() & fs::perms::all,
            fs::perms::owner_read | fs::perms::owner_write);
  const auto loaded = MakeFileStateKey(path)->Load();
  ASSERT_THAT(loaded, IsOk());
  EXPECT_TRUE(loaded->EqualsConstantTime(*made));
  // Never in the place of another: a state may depend on it.
  EXPECT_THAT(MakeFileStateKey(path)->Create(),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_TRUE(key->Load()->EqualsConstantTime(*made));
  for (const auto& entry : fs::directory_iterator(directory.path())) {
    EXPECT_EQ(entry.path(), path) << "left behind";
  }
}

TEST(FileStateKeyTest, BadFilesAreNamedWithTheRemedy) {
  TempDirectory directory;
  const std::string path = directory.File("state.key");
  const auto key = MakeFileStateKey(path);
  ASSERT_THAT(key->Create(), IsOk());
  ASSERT_THAT(key->Confirm(), IsOk());
  ASSERT_EQ(chmod(path.c_str(), 0640), 0);
  EXPECT_THAT(key->Load(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(path), HasSubstr("chmod 600"))));
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  fs::resize_file(path, 31);
  EXPECT_THAT(key->Load(),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr(path), HasSubstr("backup"))));
  EXPECT_THAT(MakeFileStateKey(directory.File("no/state.key"))->Create(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no/state.key")));
}

}  // namespace
}  // namespace mledge
