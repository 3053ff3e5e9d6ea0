#include "mledge/client/device_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mledge/tests/client/device_session_fixture.h"
#include "mledge/tests/client/session_world.h"
#include "mledge/tests/support/proto_matchers.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Phase = DeviceSession::Phase;

class DeviceSessionTest : public DeviceSessionFixture {};

TEST_F(DeviceSessionTest, ChecksInWithProtocolPopulationAndSoftware) {
  const Effects effects = Start();
  EXPECT_THAT(Only<SendCheckIn>(effects).request,
              EqualsProto("protocol_version: 1 population: 'default' "
                          "software: 'test'"));
  EXPECT_EQ(session_->phase(), Phase::kCheckingIn);
}

TEST_F(DeviceSessionTest, FollowsOneAssignmentFromCheckInToAcknowledgement) {
  const v1::Assignment assignment = world_.MakeAssignment();
  Effects effects = Answer(Start(), Handing(assignment));
  EXPECT_FALSE(Has<FetchBlob>(effects)) << "nothing before it is persisted";
  EXPECT_THAT(Only<Persist>(effects).record.assignment,
              EqualsProto(assignment));
  effects = Persisted(effects);
  EXPECT_EQ(Only<FetchBlob>(effects).digest.ToBytes(),
            assignment.signed_task().sha256());
  effects = Fetched(effects);
  EXPECT_EQ(Only<FetchBlob>(effects).digest, world_.package_digest);
  effects = Fetched(effects);
  EXPECT_EQ(Only<FetchBlob>(effects).digest.ToBytes(),
            assignment.parameters().sha256());
  effects = Fetched(effects);
  const TrainingJob& job = *Only<StartTraining>(effects).job;
  EXPECT_EQ(job.assignment.value(), "a1");
  EXPECT_EQ(job.plan.device, "device-1");
  EXPECT_EQ(job.plan.epochs, 2);
  EXPECT_EQ(job.plan.batch_size, 2);
  EXPECT_EQ(job.plan.learning_rate, 0.5);
  EXPECT_EQ(job.plan.kind, TrainingPlan::Kind::kTrain);
  EXPECT_EQ(job.package->name, "fake");
  EXPECT_EQ(job.pipeline.value_bound, 16);
  effects = Trained(effects);
  EXPECT_FALSE(Has<Upload>(effects)) << "nothing leaves before it is persisted";
  EXPECT_EQ(Only<Persist>(effects).record.update, kUpdate);
  effects = Persisted(effects);
  EXPECT_EQ(Only<Upload>(effects).update, kUpdate);
  effects = Uploaded(effects, Outcome(v1::UploadResult::ACKNOWLEDGED));
  EXPECT_EQ(Only<Forget>(effects).assignment.value(), "a1");
  EXPECT_TRUE(Has<SendCheckIn>(effects)) << "asks for more at once";
  EXPECT_EQ(session_->counters().acknowledged, 1);
  EXPECT_EQ(session_->assignment(), nullptr);
}

TEST_F(DeviceSessionTest, EvaluatesWithoutLookingAtLearningRate) {
  v1::Assignment assignment =
      world_.MakeAssignment(1, v1::Assignment::EVALUATE);
  assignment.set_learning_rate(0);
  const Effects effects = Work(assignment);
  EXPECT_EQ(Only<StartTraining>(effects).job->plan.kind,
            TrainingPlan::Kind::kEvaluate);
}

TEST_F(DeviceSessionTest, ComesBackWhenTold) {
  const Effects effects = Answer(Start(), ComeBackAfter(absl::Seconds(7)));
  EXPECT_EQ(Only<WakeAt>(effects).time, world_.now + absl::Seconds(7));
  EXPECT_FALSE(Has<SendCheckIn>(Wake(absl::Seconds(6)))) << "too early";
  EXPECT_TRUE(Has<SendCheckIn>(Wake(absl::Seconds(1))));
}

TEST_F(DeviceSessionTest, NoPauseIsLongerThanConfiguredNorNegative) {
  Effects effects = Answer(Start(), ComeBackAfter(absl::Hours(10)));
  EXPECT_EQ(Only<WakeAt>(effects).time, world_.now + absl::Seconds(60));
  effects = Answer(Wake(absl::Seconds(60)), ComeBackAfter(-absl::Hours(1)));
  EXPECT_GT(Only<WakeAt>(effects).time, world_.now);
}

TEST_F(DeviceSessionTest, ClockThatWasSetBackLengthensNoPause) {
  Answer(Start(), ComeBackAfter(absl::Seconds(30)));
  const Effects effects = Wake(-absl::Hours(24));
  EXPECT_FALSE(Has<SendCheckIn>(effects));
  EXPECT_EQ(Only<WakeAt>(effects).time, world_.now + absl::Seconds(30));
  EXPECT_TRUE(Has<SendCheckIn>(Wake(absl::Seconds(30))));
}

TEST_F(DeviceSessionTest, SaysWhichSideToUpdateWhenVersionsDoNotMatch) {
  v1::CheckInResponse response;
  response.mutable_version_mismatch()->set_minimum_protocol_version(2);
  response.mutable_version_mismatch()->set_maximum_protocol_version(3);
  const Effects effects = Answer(Start(), response);
  EXPECT_THAT(
      Only<Notice>(effects).text,
      AllOf(HasSubstr("protocol 2 to 3"), HasSubstr("Update the device")));
  EXPECT_EQ(Only<WakeAt>(effects).time, world_.now + absl::Seconds(60));
}

TEST_F(DeviceSessionTest, FailedCheckInsBackOffAndNeverEnd) {
  Effects effects = Start();
  for (int i = 0; i < 50; ++i) {
    effects = Answer(effects, absl::PermissionDeniedError("who are you"));
    const absl::Duration pause = Only<WakeAt>(effects).time - world_.now;
    EXPECT_GT(pause, absl::ZeroDuration());
    EXPECT_LE(pause, absl::Seconds(60));
    effects = WakeWhenAsked(effects);
    ASSERT_TRUE(Has<SendCheckIn>(effects));
  }
}

TEST_F(DeviceSessionTest, EmptyAnswerToCheckInIsAFailureThatPasses) {
  const Effects effects = Answer(Start(), v1::CheckInResponse());
  EXPECT_THAT(Only<Notice>(effects).text, HasSubstr("empty"));
  EXPECT_TRUE(Has<SendCheckIn>(WakeWhenAsked(effects)));
}

TEST_F(DeviceSessionTest, AnswerThatNeverComesCountsAsLost) {
  const Effects first = Start();
  const Effects lost = WakeWhenAsked(first);
  EXPECT_THAT(Only<Notice>(lost).text, HasSubstr("no answer came"));
  const Effects again = WakeWhenAsked(lost);
  ASSERT_TRUE(Has<SendCheckIn>(again));
  // The first answer arrives after all, late: it is not the awaited one.
  EXPECT_TRUE(Answer(first, Handing(world_.MakeAssignment())).empty());
  EXPECT_TRUE(Has<Persist>(Answer(again, Handing(world_.MakeAssignment()))));
}

TEST_F(DeviceSessionTest, RepeatedAnswersDoNothing) {
  const v1::Assignment assignment = world_.MakeAssignment();
  const Effects check_in = Start();
  const Effects accept = Answer(check_in, Handing(assignment));
  EXPECT_TRUE(Answer(check_in, Handing(assignment)).empty());
  const Effects task = Persisted(accept);
  EXPECT_TRUE(Persisted(accept).empty());
  const Effects package = Fetched(task);
  EXPECT_TRUE(Fetched(task).empty());
  const Effects training = Fetched(Fetched(package));
  const Effects persist = Trained(training);
  EXPECT_TRUE(Trained(training).empty());
  const Effects upload = Persisted(persist);
  EXPECT_TRUE(Persisted(persist).empty());
  EXPECT_TRUE(
      Has<Forget>(Uploaded(upload, Outcome(v1::UploadResult::ACKNOWLEDGED))));
  EXPECT_TRUE(
      Uploaded(upload, Outcome(v1::UploadResult::ACKNOWLEDGED)).empty());
  EXPECT_EQ(session_->counters().acknowledged, 1);
}

TEST_F(DeviceSessionTest, FetchIsTriedAgainUntilItWorks) {
  Effects effects =
      Persisted(Answer(Start(), Handing(world_.MakeAssignment())));
  const FetchBlob first = Only<FetchBlob>(effects);
  effects = session_->OnFetched(world_.now, first.call,
                                absl::UnavailableError("gone"));
  EXPECT_FALSE(Has<SendReport>(effects));
  effects = WakeWhenAsked(effects);
  EXPECT_EQ(Only<FetchBlob>(effects).digest, first.digest);
  EXPECT_NE(Only<FetchBlob>(effects).call, first.call);
}

TEST_F(DeviceSessionTest, BlobThatTheCoordinatorDoesNotHaveEndsTheAssignment) {
  const Effects effects =
      Persisted(Answer(Start(), Handing(world_.MakeAssignment())));
  const Effects end =
      session_->OnFetched(world_.now, Only<FetchBlob>(effects).call,
                          absl::NotFoundError("no such blob"));
  EXPECT_THAT(Only<SendReport>(end).request.reason(),
              HasSubstr("fetching the task failed: no such blob"));
  EXPECT_EQ(session_->counters().failed, 1);
}

TEST_F(DeviceSessionTest, ExpiryInMidTrainingStopsIt) {
  const Effects training = Work(world_.MakeAssignment());
  const absl::Time expiry = world_.now + absl::Minutes(10);
  const Effects early = Wake(absl::Minutes(9));
  EXPECT_EQ(early.size(), 1);
  EXPECT_EQ(Only<WakeAt>(early).time, expiry);
  const Effects end = Wake(absl::Minutes(1));
  EXPECT_FALSE(Only<StopTraining>(end).keep_snapshot);
  EXPECT_TRUE(Has<Forget>(end));
  EXPECT_EQ(session_->counters().expired, 1);
  EXPECT_TRUE(Trained(training).empty()) << "finished too late";
  EXPECT_TRUE(Has<SendCheckIn>(WakeWhenAsked(end)));
}

TEST_F(DeviceSessionTest, FinishedUpdateIsOfferedAfterItsExpiryToo) {
  Effects upload = UntilUpload(world_.MakeAssignment());
  upload = Uploaded(upload, absl::UnavailableError("no network"));
  world_.now += absl::Hours(1);
  upload = session_->OnWake(world_.now);
  ASSERT_TRUE(Has<Upload>(upload));
  const Effects end = Uploaded(upload, Outcome(v1::UploadResult::TOO_LATE));
  EXPECT_TRUE(Has<Forget>(end));
  EXPECT_TRUE(Has<SendCheckIn>(end));
  EXPECT_EQ(session_->counters().too_late, 1);
}

TEST_F(DeviceSessionTest, RefusedUpdateIsDroppedWithTheReason) {
  v1::UploadResult refused = Outcome(v1::UploadResult::REFUSED);
  refused.set_reason("value 3 is beyond the bound");
  const Effects end = Uploaded(UntilUpload(world_.MakeAssignment()), refused);
  EXPECT_THAT(Only<Notice>(end).text, HasSubstr("value 3 is beyond the bound"));
  EXPECT_TRUE(Has<Forget>(end));
  EXPECT_FALSE(Has<SendCheckIn>(end)) << "not at once";
}

TEST_F(DeviceSessionTest, UploadThatCannotSucceedIsDropped) {
  const Effects end = Uploaded(UntilUpload(world_.MakeAssignment()),
                               absl::NotFoundError("no such assignment"));
  EXPECT_TRUE(Has<Forget>(end));
  EXPECT_EQ(session_->counters().refused, 1);
}

TEST_F(DeviceSessionTest, UploadResultWithoutOutcomeIsTriedAgain) {
  const Effects effects =
      Uploaded(UntilUpload(world_.MakeAssignment()), v1::UploadResult());
  EXPECT_FALSE(Has<Forget>(effects));
  EXPECT_TRUE(Has<Upload>(WakeWhenAsked(effects)));
}

TEST_F(DeviceSessionTest, FailedTrainingIsReportedWithItsReason) {
  const Effects effects =
      Trained(Work(world_.MakeAssignment()),
              absl::InvalidArgumentError("example 17 holds nan"));
  EXPECT_EQ(Only<SendReport>(effects).request.reason(),
            "training failed: example 17 holds nan");
  EXPECT_EQ(session_->counters().failed, 1);
}

TEST_F(DeviceSessionTest, ReportIsTriedAFewTimesAndThenGivenUp) {
  Effects effects =
      Trained(Work(world_.MakeAssignment()), absl::InternalError("broken"));
  int attempts = 0;
  while (Has<SendReport>(effects)) {
    ++attempts;
    effects =
        session_->OnReportAnswer(world_.now, Only<SendReport>(effects).call,
                                 absl::UnavailableError("no network"));
    if (Has<Forget>(effects)) break;
    effects = WakeWhenAsked(effects);
  }
  EXPECT_EQ(attempts, 5);
  EXPECT_TRUE(Has<Forget>(effects));
}

TEST_F(DeviceSessionTest, LongReasonsAreCutInReports) {
  const Effects effects = Trained(Work(world_.MakeAssignment()),
                                  absl::InternalError(std::string(9999, 'x')));
  EXPECT_EQ(Only<SendReport>(effects).request.reason().size(), 1000);
}

TEST_F(DeviceSessionTest, AssignmentThatCannotBeStoredIsGivenBack) {
  const Effects effects =
      Persisted(Answer(Start(), Handing(world_.MakeAssignment())),
                absl::ResourceExhaustedError("disk full"));
  EXPECT_THAT(Only<SendReport>(effects).request.reason(),
              HasSubstr("storing the assignment failed: disk full"));
}

TEST_F(DeviceSessionTest, UpdateThatCannotBeStoredIsNotUploaded) {
  const Effects effects = Persisted(Trained(Work(world_.MakeAssignment())),
                                    absl::ResourceExhaustedError("disk full"));
  EXPECT_FALSE(Has<Upload>(effects));
  EXPECT_THAT(Only<SendReport>(effects).request.reason(),
              HasSubstr("storing the update failed: disk full"));
}

TEST_F(DeviceSessionTest, RestoredUpdateIsUploadedFirst) {
  session_->Restore({world_.MakeAssignment(), kUpdate});
  const Effects effects = Start();
  EXPECT_EQ(Only<Upload>(effects).update, kUpdate);
  EXPECT_FALSE(Has<SendCheckIn>(effects));
}

TEST_F(DeviceSessionTest, RestoredAssignmentIsTrained) {
  session_->Restore({world_.MakeAssignment(), std::nullopt});
  Effects effects = Start();
  while (Has<FetchBlob>(effects)) effects = Fetched(effects);
  EXPECT_TRUE(Has<StartTraining>(effects));
}

TEST_F(DeviceSessionTest, RestoredAssignmentThatExpiredMeanwhileIsForgotten) {
  session_->Restore({world_.MakeAssignment(), std::nullopt});
  world_.now += absl::Hours(1);
  const Effects effects = Start();
  EXPECT_TRUE(Has<Forget>(effects));
  EXPECT_THAT(All<Notice>(effects).back().text,
              HasSubstr("the device was off"));
  EXPECT_TRUE(Has<SendCheckIn>(WakeWhenAsked(effects)));
}

TEST_F(DeviceSessionTest, StopInTrainingKeepsASnapshotAndSilencesTheRest) {
  const Effects training = Work(world_.MakeAssignment());
  const Effects stop = session_->Stop(world_.now);
  EXPECT_TRUE(Only<StopTraining>(stop).keep_snapshot);
  EXPECT_TRUE(Trained(training).empty());
  EXPECT_TRUE(Wake(absl::Hours(1)).empty());
  EXPECT_EQ(session_->phase(), Phase::kStopped);
}

TEST_F(DeviceSessionTest, DevicesThatShareACacheVerifyOnceAndShareParameters) {
  std::shared_ptr<PackageCache> cache = world_.MakeCache();
  const v1::Assignment assignment = world_.MakeAssignment();
  std::vector<std::shared_ptr<const TrainingJob>> jobs;
  for (const char* name : {"device-1", "device-2"}) {
    DeviceSession::Options options = world_.MakeSessionOptions();
    options.device = DeviceId(name);
    session_ = std::make_unique<DeviceSession>(options, cache);
    jobs.push_back(Only<StartTraining>(Work(assignment)).job);
  }
  EXPECT_EQ(jobs[0]->package, jobs[1]->package);
  EXPECT_EQ(jobs[0]->parameters, jobs[1]->parameters);
  EXPECT_NE(jobs[0]->plan.device, jobs[1]->plan.device);
}

}  // namespace
}  // namespace mledge
