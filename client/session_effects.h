#ifndef MLEDGE_CLIENT_SESSION_EFFECTS_H_
#define MLEDGE_CLIENT_SESSION_EFFECTS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "mledge/client/local_trainer.h"
#include "mledge/client/update_pipeline.h"
#include "mledge/core/ids.h"
#include "mledge/core/sha256.h"
#include "mledge/v1/device_service.pb.h"

// What a DeviceSession asks of its driver. Effects are carried out in the order
// of the list. Those with a `call` are answered, once, by the event named
// beside them with the same number; an answer that the session no longer waits
// for is ignored, so a driver may answer late or twice. Values.

namespace mledge {

// Number of one request of a session; never used again.
using CallId = NumberId<struct CallIdTag>;

// The update of an assignment as its driver holds it: in the production driver
// an update file (aggregation/update_file.h) and its SHA-256; in the simulator
// any name that is the same for the same content.
struct FinishedUpdate {
  Digest content_sha256;
  uint64_t size_in_bytes = 0;

  bool operator==(const FinishedUpdate&) const = default;
};

// What a device must remember over a restart: the assignment it has taken on,
// and, once it is trained, the update that waits to be uploaded.
struct JournalRecord {
  v1::Assignment assignment;
  std::optional<FinishedUpdate> update;
};

// What a device must remember for ever of a private task, once an update of it
// is finished and may leave (privacy_ledger.h).
struct PrivacyCharge {
  Digest task;  // SHA-256 of its signed payload
  std::string record;
};

// Everything that training one assignment takes.
struct TrainingJob {
  AssignmentId assignment;
  TrainingPlan plan;
  std::shared_ptr<const ModelPackage> package;
  Digest package_digest;
  std::shared_ptr<const ParameterVector> parameters;
  UpdatePipeline::Options pipeline;
};

// → OnCheckInAnswer.
struct SendCheckIn {
  CallId call;
  v1::CheckInRequest request;
};

// Get the blob from the device's own cache or from the coordinator. The driver
// hands over only bytes whose size and SHA-256 are these. → OnFetched.
struct FetchBlob {
  CallId call;
  Digest digest;
  uint64_t size_in_bytes = 0;
};

// Make the record durable, together with the update that it names, if it names
// one; it replaces what was there. → OnPersisted, only when it is durable.
// Update and charge become durable together or not at all.
struct Persist {
  CallId call;
  JournalRecord record;
  std::optional<PrivacyCharge> charge;
};

// Train or evaluate (going on from a snapshot of this assignment if there is
// one), send the result through the update pipeline, and keep the update at
// hand for the Persist that follows. → OnTrainingFinished.
struct StartTraining {
  CallId call;
  std::shared_ptr<const TrainingJob> job;
};

// The answer to StartTraining is not wanted any more. After Stop the driver
// saves a snapshot if it can; else it throws the work away.
struct StopTraining {
  bool keep_snapshot = false;
};

// Upload the persisted update. → OnUploadAnswer.
struct Upload {
  CallId call;
  AssignmentId assignment;
  FinishedUpdate update;
};

// Take the persisted update to a sum of secure aggregation, instead of Upload
// (secure_participation.h). Takes as long as the coordinator gathers devices.
// → OnAggregated.
struct AggregateSecurely {
  CallId call;
  v1::Assignment assignment;
  FinishedUpdate update;
};

// → OnReportAnswer.
struct SendReport {
  CallId call;
  v1::ReportRequest request;
};

// The assignment is over: delete its journal record, snapshot and update. Not
// answered; if it is lost, the device asks again after a restart and is told.
struct Forget {
  AssignmentId assignment;
};

// Call OnWake at this time, or later. Replaces an earlier WakeAt;
// InfiniteFuture means: there is nothing to wait for.
struct WakeAt {
  absl::Time time;
};

// Something a person may want to know; says what to do where something is to
// be done.
struct Notice {
  enum class Severity { kInfo, kWarning };
  Severity severity = Severity::kInfo;
  std::string text;
};

using Effect =
    std::variant<SendCheckIn, FetchBlob, Persist, StartTraining, StopTraining,
                 Upload, AggregateSecurely, SendReport, Forget, WakeAt, Notice>;
using Effects = std::vector<Effect>;

}  // namespace mledge

#endif  // MLEDGE_CLIENT_SESSION_EFFECTS_H_
