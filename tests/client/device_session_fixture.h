#ifndef MLEDGE_TESTS_CLIENT_DEVICE_SESSION_FIXTURE_H_
#define MLEDGE_TESTS_CLIENT_DEVICE_SESSION_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "mledge/client/device_session.h"
#include "mledge/tests/client/session_world.h"

// Base of the tests that drive one session an event at a time.

namespace mledge {

inline const FinishedUpdate kUpdate = {Sha256Of(std::string_view("update")),
                                       123};

class DeviceSessionFixture : public ::testing::Test {
 protected:
  void MakeSession(DeviceSession::Options options) {
    session_ =
        std::make_unique<DeviceSession>(std::move(options), world_.MakeCache());
  }
  void SetUp() override { MakeSession(world_.MakeSessionOptions()); }

  Effects Start() { return session_->Start(world_.now); }
  Effects Answer(const Effects& effects,
                 absl::StatusOr<v1::CheckInResponse> answer) {
    return session_->OnCheckInAnswer(world_.now,
                                     Only<SendCheckIn>(effects).call, answer);
  }
  Effects Persisted(const Effects& effects,
                    absl::Status status = absl::OkStatus()) {
    return session_->OnPersisted(world_.now, Only<Persist>(effects).call,
                                 status);
  }
  Effects Fetched(const Effects& effects) {
    const FetchBlob fetch = Only<FetchBlob>(effects);
    return session_->OnFetched(world_.now, fetch.call,
                               world_.blobs.at(fetch.digest));
  }
  Effects Trained(const Effects& effects,
                  absl::StatusOr<FinishedUpdate> update = kUpdate) {
    return session_->OnTrainingFinished(
        world_.now, Only<StartTraining>(effects).call, update);
  }
  Effects Uploaded(const Effects& effects,
                   absl::StatusOr<v1::UploadResult> answer) {
    return session_->OnUploadAnswer(world_.now, Only<Upload>(effects).call,
                                    answer);
  }
  Effects Wake(absl::Duration after) {
    world_.now += after;
    return session_->OnWake(world_.now);
  }
  Effects WakeWhenAsked(const Effects& effects) {
    world_.now = Only<WakeAt>(effects).time;
    return session_->OnWake(world_.now);
  }

  // From the start to the effects that follow the last blob (training, or a
  // report where something was refused on the way).
  Effects Work(const v1::Assignment& assignment) {
    Effects effects = Answer(Start(), Handing(assignment));
    if (Has<Persist>(effects)) effects = Persisted(effects);
    while (Has<FetchBlob>(effects)) effects = Fetched(effects);
    return effects;
  }
  Effects UntilUpload(const v1::Assignment& assignment) {
    return Persisted(Trained(Work(assignment)));
  }
  // The reason that is reported when this assignment is handed out.
  std::string Refusal(const v1::Assignment& assignment) {
    const Effects effects = Work(assignment);
    EXPECT_FALSE(Has<StartTraining>(effects));
    EXPECT_EQ(session_->counters().refused, 1);
    const SendReport report = Only<SendReport>(effects);
    EXPECT_EQ(report.request.assignment_id(), assignment.assignment_id());
    const Effects end =
        session_->OnReportAnswer(world_.now, report.call, absl::OkStatus());
    EXPECT_TRUE(Has<Forget>(end));
    EXPECT_EQ(session_->phase(), DeviceSession::Phase::kWaiting);
    return report.request.reason();
  }

  SessionWorld world_;
  std::unique_ptr<DeviceSession> session_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_CLIENT_DEVICE_SESSION_FIXTURE_H_
