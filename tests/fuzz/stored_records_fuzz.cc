#include <google/protobuf/stubs/logging.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mledge/client/storage/journal_format.h"
#include "mledge/client/storage/sqlite_device_storage.h"
#include "mledge/client/storage/state_key.h"
#include "mledge/coordinator/storage/sqlite_storage.h"
#include "mledge/core/logging.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/storage/database.h"
#include "mledge/core/strings.h"
#include "mledge/identity/storage/sqlite_registrar_storage.h"
#include "mledge/tests/coordinator/support/coordinator_harness.h"
#include "mledge/tests/support/temp_directory.h"

// What a damaged database says: byte 0 picks a column of the coordinator's, the
// registrar's or a device's, whose value becomes the rest (a number, a text or
// bytes, as the column wants it). Everything is then read, and a coordinator
// and its devices go on from it or say why not.

namespace mledge {
namespace {

// A database whose columns are bent and restored from outside of whoever holds
// it open.
class Bent {
 public:
  struct Column {
    std::string table;
    std::string name;
    std::string type;
  };

  explicit Bent(std::string path)
      : database_(Database::Open(std::move(path), "").value()) {
    Execute("PRAGMA synchronous=OFF");
    {
      Statement row =
          database_
              ->Prepare(
                  "SELECT m.name, c.name, c.type FROM sqlite_master m, "
                  "pragma_table_info(m.name) c WHERE m.type = 'table'")
              .value();
      while (row.Step().value()) {
        columns_.push_back({row.Bytes(0), row.Bytes(1), row.Bytes(2)});
      }
    }
    std::string last;
    for (const Column& column : columns_) {
      if (column.table == last) continue;
      last = column.table;
      Execute(
          StrCat("CREATE TEMP TABLE sound_", last, " AS SELECT * FROM ", last));
    }
  }

  const std::vector<Column>& columns() const { return columns_; }

  void Bend(const Column& column, std::string_view bytes) {
    Statement update = database_
                           ->Prepare(StrCat("UPDATE OR IGNORE ", column.table,
                                            " SET ", column.name, " = ?"))
                           .value();
    if (column.type == "INTEGER") {
      int64_t number = 0;
      std::memcpy(&number, bytes.data(), std::min(bytes.size(), sizeof number));
      update.Bind(number);
    } else if (column.type == "TEXT") {
      update.BindText(bytes);
    } else {
      update.BindBlob(bytes);
    }
    update.Run().IgnoreError();  // a CHECK of the schema may refuse it
  }
  void Restore() {
    std::string last;
    for (const Column& column : columns_) {
      if (column.table == last) continue;
      last = column.table;
      Execute(StrCat("DELETE FROM main.", last, "; INSERT INTO main.", last,
                     " SELECT * FROM temp.sound_", last));
    }
  }

 private:
  void Execute(const std::string& sql) {
    const absl::Status status = database_->Execute(sql);
    CHECK(status.ok()) << status;
  }

  std::unique_ptr<Database> database_;
  std::vector<Column> columns_;
};

// A task in its second round, one of two updates here.
class CoordinatorState {
 public:
  CoordinatorState()
      : storage_(SqliteStorage::Open(directory_.path()).value()) {
    CoordinatorHarness harness(
        {.updates_per_checkpoint = 1, .updates_per_fold = 1});
    CHECK(harness.Submit({.size = 2, .rounds = 3}).ok());
    for (const char* device : {"a", "b", "a", "b"}) {
      const auto call = harness.CheckIn(device);
      if (!call->has_assignment()) continue;
      assignments_.emplace_back(call->assignment().assignment_id());
    }
    for (const char* device : {"a", "b"}) {
      (void)harness.Upload(device, harness.CheckIn(device)->assignment());
    }
    const auto third = harness.CheckIn("a");
    (void)harness.CheckIn("b");
    if (third->has_assignment()) {
      (void)harness.Upload("a", third->assignment());
    }
    now_ = harness.now;
    const Transaction transaction = ToTransaction(*harness.memory.Load());
    for (const Digest& digest : Named(transaction)) {
      const auto blob = harness.memory.OpenBlob(digest);
      if (!blob.ok()) continue;
      blobs_.push_back((*blob)->Read(0, (*blob)->size_in_bytes()).value());
    }
    CHECK(storage_->Commit(transaction).ok());
  }

  std::string path() const { return directory_.File("coordinator.db"); }

  void Use() {
    const auto state = storage_->Load();
    for (const AssignmentId& id : assignments_) {
      (void)storage_->FindAssignment(id);
    }
    (void)storage_->ReadEvents(TaskId("task"), 0);
    if (!state.ok()) return;
    MemoryStorage memory;
    for (const std::string& blob : blobs_) CHECK(memory.PutBlob(blob).ok());
    CHECK(memory.Commit(ToTransaction(*state)).ok());
    absl::Time wake = absl::InfiniteFuture();
    auto coordinator = Coordinator::Create(
        {.synchronous = true},
        {.storage = &memory,
         .sign_version =
             [](const v1::VersionStatement&) {
               return absl::StatusOr<v1::SignedMessage>(v1::SignedMessage());
             },
         .wake_at = [&](absl::Time at) { wake = std::min(wake, at); }},
        now_);
    if (!coordinator.ok()) return;
    (void)(*coordinator)->ListTasks();
    (void)(*coordinator)->ListDevices();
    (void)(*coordinator)->GetTask(TaskId("task"));
    v1::CheckInRequest request;
    request.set_protocol_version(1);
    request.set_population("default");
    (*coordinator)
        ->CheckIn(now_, {DeviceId("c"), Peer::Role::kDevice}, request, now_,
                  [](const absl::StatusOr<v1::CheckInResponse>&) {});
    for (int i = 0; i < 5 && wake < absl::InfiniteFuture(); ++i) {
      const absl::Time at = std::exchange(wake, absl::InfiniteFuture());
      (*coordinator)->Tick(std::max(now_, at));
    }
  }

 private:
  static Transaction ToTransaction(const StoredState& state) {
    return {.tasks = state.tasks,
            .versions = state.versions,
            .assignments = state.assignments,
            .rounds = state.rounds,
            .checkpoints = state.checkpoints,
            .devices = state.devices};
  }
  static std::vector<Digest> Named(const Transaction& transaction) {
    std::vector<Digest> names;
    for (const TaskRecord& task : transaction.tasks) {
      names.insert(names.end(), {task.signed_task, task.package});
    }
    for (const VersionRecord& version : transaction.versions) {
      names.push_back(version.parameters);
      if (version.optimizer_state.has_value()) {
        names.push_back(*version.optimizer_state);
      }
    }
    for (const CheckpointRecord& checkpoint : transaction.checkpoints) {
      names.push_back(checkpoint.sum);
    }
    return names;
  }

  TempDirectory directory_;
  std::unique_ptr<SqliteStorage> storage_;
  std::vector<std::string> blobs_;
  std::vector<AssignmentId> assignments_;
  absl::Time now_;
};

class RegistrarState {
 public:
  RegistrarState()
      : storage_(SqliteRegistrarStorage::Open(directory_.path()).value()) {
    SystemSecretRandom random;
    const WitnessKey key = WitnessKey::Generate(random);
    const absl::Time now = absl::FromUnixSeconds(1767225600);
    const Identity device = {Role::kDevice, "d"};
    WitnessStatement statement{.task = kTask, .session_number = 1, .time = now};
    statement.Sign(key);
    SetsStatement sets{.task = kTask, .session_number = 1, .time = now};
    sets.Sign(key);
    VersionLogHead head{.task = kTask, .length = 1, .time = now};
    head.Sign(key);
    CHECK(
        storage_
            ->Commit(
                {.issued = IssuedCertificate{.serial = "0a",
                                             .identity = device,
                                             .issued_at = now,
                                             .not_after = now},
                 .revocations = {{.serial = "0b", .revoked_at = now},
                                 {.identity = device, .revoked_at = now}},
                 .revocation_list =
                     StoredRevocationList{.number = 1, .issued = now},
                 .statement = statement,
                 .sets_statement = sets,
                 .task = WitnessedTask{.task = kTask, .last_session_number = 1},
                 .version_log_head = StoredVersionLogHead{head, kTask},
                 .token = EnrollmentToken{.token_sha256 = kTask,
                                          .identity = device,
                                          .expires_at = now}})
            .ok());
  }

  std::string path() const { return directory_.File("registrar.db"); }

  void Use() {
    (void)storage_->FindTask(kTask);
    (void)storage_->FindStatement(kTask, 1);
    (void)storage_->FindSetsStatement(kTask, 1, 0);
    (void)storage_->FindVersionLogHead(kTask);
    (void)storage_->FindIssued("0a");
    (void)storage_->ListIssued({});
    (void)storage_->ListRevocations();
    (void)storage_->IsRevoked("0b", {Role::kDevice, "d"});
    (void)storage_->FindRevocationList();
    (void)storage_->FindToken(kTask);
  }

 private:
  const Digest kTask = Sha256Of(std::string_view("task"));
  TempDirectory directory_;
  std::unique_ptr<SqliteRegistrarStorage> storage_;
};

class DeviceState {
 public:
  DeviceState()
      : storage_(OpenSqliteDeviceStorage({.directory = directory_.File("state"),
                                          .device = DeviceId("d"),
                                          .state_key = key_.get()})
                     .value()) {
    v1::Assignment assignment;
    assignment.set_assignment_id("a1");
    CHECK(storage_->SaveAssignment(assignment).ok());
    CHECK(storage_->SaveSnapshot(kAssignment, "snapshot").ok());
    CHECK(storage_
              ->SaveSecaggJournal(kTask, SecretBytes::CopyFrom("journal"),
                                  MaskedInputAction::kStore,
                                  std::make_shared<const std::string>("masked"))
              .ok());
    CHECK(storage_->SaveListNumber(1).ok());
  }

  std::string path() const { return directory_.File("state/device.sqlite"); }

  void Use() {
    (void)storage_->LoadJournal();
    (void)storage_->LoadSnapshot(kAssignment);
    (void)storage_->OpenUpdate(kAssignment);
    (void)storage_->LoadSecaggJournal(kTask);
    (void)storage_->LoadListNumber();
  }

 private:
  const Digest kTask = Sha256Of(std::string_view("task"));
  const AssignmentId kAssignment = AssignmentId("a1");
  TempDirectory directory_;
  std::unique_ptr<StateKey> key_ =
      MakeFileStateKey(directory_.File("state.key"));
  std::unique_ptr<DeviceStorage> storage_;
};

// What stands in a device's records once they are opened.
void DecodeRecords(std::string_view bytes) {
  const std::span<const uint8_t> value(
      reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  (void)DecodeAssignment(value);
  SecretBytes journal;
  std::optional<Digest> masked_input;
  DecodeSecagg(value, &journal, &masked_input).IgnoreError();
  (void)DecodePrivacyRecord(value);
  (void)DecodeNumber(value);
}

template <typename State>
struct Target {
  State state;
  Bent bent{state.path()};

  // Counts `index` down to one of its columns; false: it is not here.
  bool Try(size_t& index, std::string_view bytes) {
    if (index >= bent.columns().size()) {
      index -= bent.columns().size();
      return false;
    }
    bent.Bend(bent.columns()[index], bytes);
    state.Use();
    bent.Restore();
    return true;
  }
};

void FuzzOne(std::string_view bytes) {
  // Protobuf reports each name that is not UTF-8.
  google::protobuf::SetLogHandler(nullptr);
  static auto* const kCoordinator = new Target<CoordinatorState>;
  static auto* const kRegistrar = new Target<RegistrarState>;
  static auto* const kDevice = new Target<DeviceState>;
  if (bytes.empty()) return;
  DecodeRecords(bytes.substr(1));
  size_t index = static_cast<uint8_t>(bytes[0]);
  bytes.remove_prefix(1);
  (void)(kCoordinator->Try(index, bytes) || kRegistrar->Try(index, bytes) ||
         kDevice->Try(index, bytes));
}

}  // namespace
}  // namespace mledge

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  mledge::InitializeLogging({.minimum_severity = mledge::LogSeverity::kFatal});
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mledge::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
