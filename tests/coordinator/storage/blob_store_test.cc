#include "mledge/coordinator/storage/blob_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

namespace fs = std::filesystem;

class BlobStoreTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    store_.reset();
    auto store = BlobStore::Open(directory_.File("blobs"));
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }
  Digest Put(std::string_view bytes) {
    const absl::StatusOr<Digest> digest = store_->Put(bytes);
    EXPECT_THAT(digest, IsOk());
    return *digest;
  }
  bool Has(const Digest& digest) { return store_->Get(digest).ok(); }

  TempDirectory directory_;
  std::unique_ptr<BlobStore> store_;
};

TEST_F(BlobStoreTest, GivesBackWhatWasPutUnderItsHash) {
  const Digest digest = Put("hello blob");
  EXPECT_EQ(digest, Sha256Of(std::string_view("hello blob")));
  Reopen();
  const auto reader = store_->Get(digest);
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ((*reader)->size_in_bytes(), 10u);
  EXPECT_THAT((*reader)->Read(6, 100), IsOkAndHolds("blob"));
  EXPECT_THAT((*reader)->Read(10, 1), IsOkAndHolds(""));
  EXPECT_THAT((*reader)->Read(11, 1), StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(BlobStoreTest, UnknownNameIsNotFound) {
  EXPECT_THAT(store_->Get(Sha256Of(std::string_view("nothing"))),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(BlobStoreTest, EmptyBlobIsABlob) {
  const auto reader = store_->Get(Put(""));
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ((*reader)->size_in_bytes(), 0u);
}

TEST_F(BlobStoreTest, TruncatedFileIsReplacedByPut) {
  const Digest digest = Put("0123456789");
  const std::string hex = digest.ToHex();
  fs::resize_file(
      fs::path(directory_.File("blobs")) / hex.substr(0, 2) / hex.substr(2), 4);
  Put("0123456789");
  const auto reader = store_->Get(digest);
  ASSERT_THAT(reader, IsOk());
  EXPECT_THAT((*reader)->Read(0, 100), IsOkAndHolds("0123456789"));
}

TEST_F(BlobStoreTest, DamagedFileIsReplacedByPut) {
  const Digest digest = Put("0123456789");
  const std::string hex = digest.ToHex();
  std::ofstream(fs::path(directory_.File("blobs")) / hex.substr(0, 2) /
                hex.substr(2))
      << "0123x56789";
  Put("0123456789");
  const auto reader = store_->Get(digest);
  ASSERT_THAT(reader, IsOk());
  EXPECT_THAT((*reader)->Read(0, 100), IsOkAndHolds("0123456789"));
}

TEST_F(BlobStoreTest, CollectRemovesOnlyWhatNobodyNames) {
  const Digest named = Put("named");
  const Digest nameless = Put("nameless");
  store_->Named({named, nameless});
  EXPECT_THAT(store_->Collect({named}), IsOk());
  EXPECT_TRUE(Has(named));
  EXPECT_FALSE(Has(nameless));
}

TEST_F(BlobStoreTest, CollectLeavesWhatWasJustPut) {
  const Digest fresh = Put("fresh");
  EXPECT_THAT(store_->Collect({}), IsOk());
  EXPECT_TRUE(Has(fresh));
  store_->Named({fresh});
  EXPECT_THAT(store_->Collect({}), IsOk());
  EXPECT_FALSE(Has(fresh));
}

TEST_F(BlobStoreTest, CollectLeavesWhatWasPutAgain) {
  const Digest blob = Put("again");
  store_->Named({blob});
  Put("again");
  EXPECT_THAT(store_->Collect({}), IsOk());
  EXPECT_TRUE(Has(blob));
}

TEST_F(BlobStoreTest, CollectLeavesWhatIsBeingRead) {
  const Digest blob = Put("being read");
  store_->Named({blob});
  {
    const auto reader = store_->Get(blob);
    ASSERT_THAT(reader, IsOk());
    EXPECT_THAT(store_->Collect({}), IsOk());
    EXPECT_TRUE(Has(blob));
  }
  EXPECT_THAT(store_->Collect({}), IsOk());
  EXPECT_FALSE(Has(blob));
}

TEST_F(BlobStoreTest, WhatWasPutAndNeverNamedIsCollectedAfterARestart) {
  const Digest blob = Put("abandoned");
  Reopen();
  EXPECT_THAT(store_->Collect({}), IsOk());
  EXPECT_FALSE(Has(blob));
}

TEST_F(BlobStoreTest, HalfWrittenFilesAreRemovedAtOpen) {
  Put("something");
  const std::string leftover = directory_.File("blobs/ab.tmp-1-0");
  std::ofstream(leftover) << "half";
  Reopen();
  EXPECT_FALSE(fs::exists(leftover));
}

}  // namespace
}  // namespace mledge
