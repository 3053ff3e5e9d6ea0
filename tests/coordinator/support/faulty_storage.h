#ifndef MLEDGE_TESTS_COORDINATOR_SUPPORT_FAULTY_STORAGE_H_
#define MLEDGE_TESTS_COORDINATOR_SUPPORT_FAULTY_STORAGE_H_

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "mledge/coordinator/memory_storage.h"

// MemoryStorage that fails on purpose. Two ways: `fail` is asked before each
// operation that changes something; and after `crash_after` such operations the
// process "dies": that operation happens or not (`crash_happens`), its caller
// hears an error, and nothing works any more until `Restart`, which also loses
// what was not synced. Besides, single blobs can be damaged.

namespace mledge {

class FaultyStorage final : public CoordinatorStorage {
 public:
  // Names: "Commit", "PutBlob", "Append", "Sync", "DiscardSpooled",
  // "OpenSpoolWriter".
  std::function<absl::Status(const std::string& operation)> fail;

  explicit FaultyStorage(MemoryStorage* inner) : inner_(inner) {}

  // How the disk has damaged a blob, until `Repair`.
  enum class Damage { kMissing, kAltered, kCut };
  void DamageBlob(const Digest& name, Damage damage) {
    damaged_[name] = damage;
  }
  void Repair() { damaged_.clear(); }

  // The `n`th changing operation from now on (from 0) is the last.
  void CrashAfter(int64_t n, bool crash_happens) {
    crash_after_ = operations_ + n;
    crash_happens_ = crash_happens;
  }
  bool crashed() const { return crashed_; }
  int64_t operations() const { return operations_; }
  // Precondition: no writer and no coordinator lives.
  void Restart() {
    inner_->LoseUnsynced();
    crashed_ = false;
    crash_after_ = -1;
  }

  // What somebody else has done to the records, before they are loaded.
  std::function<void(StoredState*)> alter;
  absl::StatusOr<StoredState> Load() override {
    absl::StatusOr<StoredState> state = inner_->Load();
    if (state.ok() && alter != nullptr) alter(&*state);
    return state;
  }
  absl::Status Commit(const Transaction& transaction) override {
    return Change("Commit", [&] { return inner_->Commit(transaction); });
  }
  absl::StatusOr<AssignmentRecord> FindAssignment(
      const AssignmentId& id) override {
    return inner_->FindAssignment(id);
  }
  absl::StatusOr<std::vector<EventRecord>> ReadEvents(
      const TaskId& task, int64_t after_sequence) override {
    return inner_->ReadEvents(task, after_sequence);
  }
  absl::StatusOr<Digest> PutBlob(std::string_view bytes) override {
    Digest name;
    const absl::Status status = Change("PutBlob", [&]() -> absl::Status {
      absl::StatusOr<Digest> put = inner_->PutBlob(bytes);
      if (put.ok()) name = *put;
      return put.status();
    });
    if (!status.ok()) return status;
    return name;
  }
  absl::StatusOr<std::shared_ptr<const BlobReader>> OpenBlob(
      const Digest& name) override {
    absl::StatusOr<std::shared_ptr<const BlobReader>> reader =
        inner_->OpenBlob(name);
    const auto damage = damaged_.find(name);
    if (!reader.ok() || damage == damaged_.end()) return reader;
    if (damage->second == Damage::kMissing) {
      return absl::NotFoundError("no such blob");
    }
    return std::make_shared<DamagedReader>(*std::move(reader), damage->second);
  }
  absl::Status CollectGarbage() override {
    if (crashed_) return Dead();
    return inner_->CollectGarbage();
  }
  absl::StatusOr<std::unique_ptr<SpoolWriter>> OpenSpoolWriter(
      const AssignmentId& assignment, const Digest& content,
      uint64_t size_in_bytes) override {
    if (fail != nullptr) {
      if (absl::Status s = fail("OpenSpoolWriter"); !s.ok()) return s;
    }
    if (crashed_) return Dead();
    auto writer = inner_->OpenSpoolWriter(assignment, content, size_in_bytes);
    if (!writer.ok()) return writer.status();
    return std::make_unique<Writer>(this, *std::move(writer));
  }
  absl::StatusOr<std::string> ReadSpooled(
      const AssignmentId& assignment) override {
    return inner_->ReadSpooled(assignment);
  }
  absl::StatusOr<std::unique_ptr<SpooledUpdate>> OpenSpooled(
      const AssignmentId& assignment) override {
    return inner_->OpenSpooled(assignment);
  }
  absl::Status DiscardSpooled(
      std::span<const AssignmentId> assignments) override {
    return Change("DiscardSpooled",
                  [&] { return inner_->DiscardSpooled(assignments); });
  }

 private:
  // Its last byte is another one, or gone.
  class DamagedReader final : public BlobReader {
   public:
    DamagedReader(std::shared_ptr<const BlobReader> inner, Damage damage)
        : inner_(std::move(inner)), damage_(damage) {}
    uint64_t size_in_bytes() const override {
      return inner_->size_in_bytes() - (damage_ == Damage::kCut ? 1 : 0);
    }
    absl::StatusOr<std::string> Read(uint64_t offset,
                                     uint64_t size) const override {
      absl::StatusOr<std::string> bytes = inner_->Read(offset, size);
      if (bytes.ok() && offset + bytes->size() == inner_->size_in_bytes() &&
          !bytes->empty()) {
        if (damage_ == Damage::kCut) {
          bytes->pop_back();
        } else {
          bytes->back() ^= 1;
        }
      }
      return bytes;
    }

   private:
    const std::shared_ptr<const BlobReader> inner_;
    const Damage damage_;
  };

  class Writer final : public SpoolWriter {
   public:
    Writer(FaultyStorage* storage, std::unique_ptr<SpoolWriter> inner)
        : storage_(storage), inner_(std::move(inner)) {}
    uint64_t offset() const override { return inner_->offset(); }
    absl::Status Append(std::span<const uint8_t> bytes) override {
      return storage_->Change("Append", [&] { return inner_->Append(bytes); });
    }
    absl::StatusOr<Digest> Sync() override {
      Digest content;
      const absl::Status status =
          storage_->Change("Sync", [&]() -> absl::Status {
            absl::StatusOr<Digest> synced = inner_->Sync();
            if (synced.ok()) content = *synced;
            return synced.status();
          });
      if (!status.ok()) return status;
      return content;
    }

   private:
    FaultyStorage* const storage_;
    const std::unique_ptr<SpoolWriter> inner_;
  };

  static absl::Status Dead() {
    return absl::UnavailableError("the process has died");
  }

  absl::Status Change(const std::string& operation,
                      const std::function<absl::Status()>& change) {
    if (crashed_) return Dead();
    if (fail != nullptr) {
      if (absl::Status s = fail(operation); !s.ok()) return s;
    }
    if (operations_++ == crash_after_) {
      crashed_ = true;
      if (crash_happens_) change().IgnoreError();
      return Dead();
    }
    return change();
  }

  MemoryStorage* const inner_;
  std::map<Digest, Damage> damaged_;
  std::atomic<int64_t> operations_ = 0;
  std::atomic<int64_t> crash_after_ = -1;
  std::atomic<bool> crash_happens_ = false;
  std::atomic<bool> crashed_ = false;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_COORDINATOR_SUPPORT_FAULTY_STORAGE_H_
