#include <google/protobuf/stubs/logging.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "mledge/aggregation/secagg/update_codec.h"
#include "mledge/client/device_session.h"
#include "mledge/client/training_plan.h"
#include "mledge/core/logging.h"
#include "mledge/tests/client/session_world.h"
#include "mledge/v1/device_service.pb.h"

// Bytes from outside as what a coordinator answers to a device: an answer to a
// check-in as it is, an assignment merged into a sound one (plain, secure, an
// evaluation), and the answer to an upload. What the device then trains is
// within what the operator signed.

namespace mledge {
namespace {

struct Setting {
  SessionWorld world;
  v1::Assignment sound[3];
  std::shared_ptr<PackageCache> cache;

  Setting() {
    world.task.mutable_evaluation()->set_every(1);
    world.task.mutable_evaluation()->set_where(v1::Evaluation::DEVICES);
    sound[0] = world.MakeAssignment();
    sound[1] = world.MakeAssignment(1, v1::Assignment::EVALUATE);
    world.task.clear_evaluation();
    world.MakeSecure(40);
    sound[2] = world.MakeAssignment();
    cache = world.MakeCache();
  }
};

template <typename Message>
bool Parse(std::string_view bytes, Message& message) {
  return message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

void CheckJob(const TrainingJob& job) {
  CHECK(job.package != nullptr && job.parameters != nullptr);
  // An evaluation has neither steps nor an update to clip.
  if (job.plan.kind == TrainingPlan::Kind::kEvaluate) return;
  CHECK(job.plan.batch_size > 0);
  CHECK(std::isfinite(job.pipeline.clip_norm) && job.pipeline.clip_norm >= 0);
  // That of the task, which has no schedule.
  CHECK(job.plan.learning_rate > 0.4 && job.plan.learning_rate < 0.6)
      << job.plan.learning_rate;
}

void Drive(Setting& setting, v1::CheckInResponse answer,
           std::string_view bytes) {
  const absl::Time now = setting.world.now;
  DeviceSession::Options options = setting.world.MakeSessionOptions();
  options.policy.secure = SecureAssignmentPolicy{};
  DeviceSession session(options, setting.cache);
  Effects effects = session.Start(now);
  for (int step = 0; step < 20 && !effects.empty(); ++step) {
    Effects next;
    const auto add = [&next](Effects more) {
      std::move(more.begin(), more.end(), std::back_inserter(next));
    };
    for (const Effect& effect : effects) {
      if (const auto* check_in = std::get_if<SendCheckIn>(&effect)) {
        if (step > 0) return;
        add(session.OnCheckInAnswer(now, check_in->call, answer));
      } else if (const auto* persist = std::get_if<Persist>(&effect)) {
        // It is read again after a restart.
        v1::Assignment again;
        CHECK(Parse(persist->record.assignment.SerializeAsString(), again));
        add(session.OnPersisted(now, persist->call, absl::OkStatus()));
      } else if (const auto* fetch = std::get_if<FetchBlob>(&effect)) {
        const auto blob = setting.world.blobs.find(fetch->digest);
        if (blob == setting.world.blobs.end()) return;
        CHECK(blob->second->size() == fetch->size_in_bytes || step > 0);
        add(session.OnFetched(now, fetch->call, blob->second));
      } else if (const auto* start = std::get_if<StartTraining>(&effect)) {
        CheckJob(*start->job);
        add(session.OnTrainingFinished(now, start->call,
                                       FinishedUpdate{Sha256Of(bytes), 10}));
      } else if (const auto* upload = std::get_if<Upload>(&effect)) {
        v1::UploadResult result;
        if (!Parse(bytes, result)) return;
        add(session.OnUploadAnswer(now, upload->call, result));
      } else if (const auto* secure = std::get_if<AggregateSecurely>(&effect)) {
        CHECK(secagg::UpdateCodec::Create(
                  MakeCodecOptions(secure->assignment.secure()))
                  .ok());
        return;
      } else if (const auto* report = std::get_if<SendReport>(&effect)) {
        add(session.OnReportAnswer(now, report->call, absl::OkStatus()));
      }
    }
    effects = std::move(next);
  }
}

void FuzzOne(std::string_view bytes) {
  // Protobuf reports each name that is not UTF-8.
  google::protobuf::SetLogHandler(nullptr);
  static Setting* const kSetting = new Setting;
  v1::CheckInResponse answer;
  if (Parse(bytes, answer)) Drive(*kSetting, answer, bytes);
  v1::Assignment bent;
  if (!Parse(bytes, bent)) return;
  for (const v1::Assignment& sound : kSetting->sound) {
    v1::Assignment assignment = sound;
    assignment.MergeFrom(bent);
    Drive(*kSetting, Handing(assignment), bytes);
  }
}

}  // namespace
}  // namespace mledge

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mledge::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
