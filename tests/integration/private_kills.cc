#include "mledge/tests/integration/private_kills.h"

#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <utility>

#include "absl/time/clock.h"
#include "mledge/coordinator/storage/sqlite_storage.h"
#include "mledge/core/sha256.h"
#include "mledge/core/strings.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/v1/privacy.pb.h"
#include "mledge/v1/signature.pb.h"

namespace mledge {

namespace fs = std::filesystem;

namespace {

// A killed process loses nothing that it gave to the kernel, so the folders may
// be in memory, where no other program's writes delay a sync.
bool UseMemoryForFolders() {
  constexpr char kMemory[] = "/dev/shm";
  std::error_code error;
  const fs::space_info space = fs::space(kMemory, error);
  if (error || space.available < (uint64_t{256} << 20)) return false;
  return setenv("TMPDIR", kMemory, 1) == 0;
}

}  // namespace

std::set<std::string> BlobsIn(const std::string& state) {
  std::set<std::string> blobs;
  for (auto entry = fs::recursive_directory_iterator(state + "/blobs");
       entry != fs::recursive_directory_iterator(); ++entry) {
    // Not the file by which a start finds out whether it may write there.
    if (entry.depth() == 1 && entry->is_regular_file()) {
      blobs.insert(entry->path().parent_path().filename().string() +
                   entry->path().filename().string());
    }
  }
  return blobs;
}

Disk Disk::LookAt(const std::string& state, const std::string& copy) {
  fs::remove_all(copy);
  fs::copy(state, copy, fs::copy_options::recursive);
  Disk disk;
  disk.nameless = BlobsIn(copy);
  const auto storage = SqliteStorage::Open(copy);
  EXPECT_THAT(storage, IsOk());
  if (!storage.ok()) return disk;
  const auto loaded = (*storage)->Load();
  EXPECT_THAT(loaded, IsOk());
  if (!loaded.ok()) return disk;
  EXPECT_THAT((*storage)->CollectGarbage(), IsOk());
  for (const std::string& named : BlobsIn(copy)) disk.nameless.erase(named);
  for (const VersionRecord& version : loaded->versions) {
    disk.versions[version.version.value()] = version.parameters.ToHex();
  }
  std::vector<StoredLedgerEntry> entries;
  for (const LedgerRecord& record : loaded->ledger) {
    entries.push_back(record.entry);
    v1::LedgerEntry entry;
    EXPECT_TRUE(entry.ParseFromString(record.entry.entry));
    if (entry.has_charge()) {
      disk.charges.push_back(
          {entry.charge().step(), entry.charge().secure_session()});
    }
  }
  EXPECT_EQ(loaded->tasks.size(), 1u);
  const TaskRecord& record = loaded->tasks.at(0);
  disk.secure_sessions = record.secure_session;
  v1::SignedMessage task;
  EXPECT_TRUE(task.ParseFromString(
      ReadVerifiedBlob(**storage, record.signed_task).value()));
  EXPECT_THAT(Ledger::Restore(Sha256Of(task.payload()), entries, record.ledger),
              IsOk());
  return disk;
}

bool Disk::IsCharged(int64_t step) const {
  return std::any_of(charges.begin(), charges.end(),
                     [&](const Charge& charge) { return charge.step == step; });
}

const Seen& Onlooker::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  return seen_;
}

void Onlooker::Look() {
  while (!stop_) {
    if (const auto task = admin_->GetTask(kKilledTask); task.ok()) {
      for (const v1::ModelVersion& version : task->versions()) {
        seen_[version.version()].insert(
            Digest::FromBytes(version.parameters().sha256()).value().ToHex());
      }
    }
    absl::SleepFor(absl::Milliseconds(3));
  }
}

PrivateKillsTest::PrivateKillsTest()
    : in_memory_(UseMemoryForFolders()),
      state_(fleet_.PathOf("coordinator")),
      kill_(fleet_.PathOf("kill-switch"), state_) {
  fleet_.SetCheckInInterval("100ms");
}

int64_t PrivateKillsTest::Version() {
  const auto task = fleet_.Admin()->GetTask(kKilledTask);
  EXPECT_THAT(task, IsOk());
  return task.ok() ? task->summary().version() : 0;
}

Disk PrivateKillsTest::AwaitDeath() {
  EXPECT_EQ(fleet_.coordinator()->Wait(), 128 + SIGKILL);
  const std::string before = kill_.died_before();
  EXPECT_NE(before, "") << "killed, but not by the switch";
  kill_.Disarm();
  const size_t path = std::min(before.find('/'), before.size());
  ++deaths_[before.substr(path, before.find('/', path + 1) - path)];
  Disk disk = Disk::LookAt(state_, fleet_.PathOf("copy"));
  EXPECT_FALSE(disk.versions.empty());
  for (const auto& [version, parameters] : disk.versions) {
    stored_[version].insert(parameters);
  }
  return disk;
}

void PrivateKillsTest::Tell(int64_t moments) const {
  const absl::Duration elapsed = absl::Now() - started_;
  std::cout << moments << " moments, " << elapsed / moments << " each; before";
  for (const auto& [path, deaths] : deaths_) {
    std::cout << " " << path << ": " << deaths;
  }
  std::cout << std::endl;
}

std::vector<std::string> WordsAfter(const std::string& log,
                                    std::string_view before) {
  std::vector<std::string> words;
  for (size_t at = log.find(before); at != std::string::npos;
       at = log.find(before, at)) {
    at += before.size();
    words.push_back(log.substr(at, log.find_first_of(" \n", at) - at));
  }
  return words;
}

}  // namespace mledge
