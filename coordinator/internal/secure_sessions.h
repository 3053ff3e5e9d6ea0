#ifndef MLEDGE_COORDINATOR_INTERNAL_SECURE_SESSIONS_H_
#define MLEDGE_COORDINATOR_INTERNAL_SECURE_SESSIONS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/aggregation/aggregator.h"
#include "mledge/aggregation/secagg/membership.h"
#include "mledge/aggregation/secagg/server.h"
#include "mledge/aggregation/secagg/update_codec.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/coordinator/effects.h"
#include "mledge/coordinator/internal/secure_streams.h"
#include "mledge/coordinator/secure_gathering.h"
#include "mledge/core/executor.h"
#include "mledge/core/ids.h"
#include "mledge/core/sha256.h"

// One task's secure aggregation as the driver runs it: the streams of the
// devices that hold a finished update or evaluation, and the session under way,
// which is a sans-I/O SecaggServer. Sessions of rounds and of evaluations
// follow one another under one count of numbers. Everything runs on one
// sequential executor, so that a session's arithmetic stalls nobody else; calls
// return at once. Hold it in a shared_ptr: answers of the registrar may come
// late. Thread-safe.

namespace mledge {

class SecureSessions : public std::enable_shared_from_this<SecureSessions> {
 public:
  // What the sessions of one kind of assignment add up, and among how many.
  struct Terms {
    secagg::UpdateCodecOptions codec;
    int64_t largest_group = 0;  // 0: one group
    int64_t least_devices = 1;
    int64_t least_alive = 1;

    int64_t maximum_devices() const { return codec.maximum_updates; }
  };
  struct Options {
    Digest task;  // SHA-256 of the signed task's payload
    Digest package;
    // Sizes of session and groups are those of the terms.
    secagg::ServerOptions server;
    Terms training;
    std::optional<Terms> evaluation;  // where devices evaluate
  };
  struct Environment {
    const SecureAggregationServices* services = nullptr;
    Executor* executor = nullptr;
    ThreadPool* pool = nullptr;  // shares loops over vectors; may be null
    // Tick is wanted then; the earliest counts.
    std::function<void(absl::Time)> wake_at;
    // Before anybody is asked for what unmasks the sum of these updates: OK
    // once what must be on disk before it is; else the group's sum is given up.
    // Null: nothing must be.
    std::function<void(const SecureSessionJob& job, uint32_t group,
                       std::vector<AssignmentId> members,
                       std::function<void(const absl::Status&)> approved)>
        approve_unmask = nullptr;
  };

  // FAILED_PRECONDITION, INVALID_ARGUMENT: no session of the task could come to
  // be: parameters that are not feasible for its cohort, sums without room.
  static absl::Status Check(const Options& options);
  // `options` passed Check.
  SecureSessions(Options options, Environment environment);
  ~SecureSessions();

  // Streams: see secure_streams.h.
  void Join(absl::Time now, const AssignmentId& assignment,
            const DeviceId& device, uint64_t stream,
            Coordinator::SecureSink sink);
  void Leave(const AssignmentId& assignment, uint64_t stream);
  // `pending` dies when the message was looked at.
  void OnMessage(absl::Time now, const AssignmentId& assignment,
                 uint64_t stream, const v1::SecaggDeviceMessage& message,
                 std::shared_ptr<const void> pending);
  // The assignment has ended: tells the device, if it still listens.
  void EndAssignment(const AssignmentId& assignment,
                     const v1::UploadResult& result);
  // The coordinator shuts down: devices come back to the next one.
  void EndStreams();

  // Sessions.
  struct Session {
    SecureSessionJob job;
    // What versions the task has, up to the base version.
    std::vector<Digest> version_entries;
  };
  struct Result {
    // OK: there is a sum of `end.counted`.
    absl::Status status;
    SecureSessionEnd end;
    std::unique_ptr<Aggregator> sum;
  };
  using Done = std::function<void(Result)>;
  // One at a time, and only once the end of the last one is on disk. `done`
  // runs once, on the executor. `sum`: an empty one.
  void Begin(absl::Time now, Session session, std::unique_ptr<Aggregator> sum,
             Done done);
  // The end of the last session is on disk: its devices are told.
  void Saved(absl::Time now);
  // The task has ended.
  void Abort(absl::Time now, const std::string& reason);
  // RECEIVED, TOO_LATE or REFUSED; an error of `read`, which gives the bytes
  // when their turn has come, so that few of them are in memory.
  void OnMaskedInput(
      absl::Time now, const AssignmentId& assignment, const Digest& session,
      const Digest& content, std::function<absl::StatusOr<std::string>()> read,
      std::function<void(absl::StatusOr<v1::UploadResult>)> done);
  void Tick(absl::Time now);
  // Forgets everything and waits for what runs; later calls do nothing, and no
  // callback follows. Not from within one.
  void Stop();

 private:
  // Terms of sessions, with what follows from them.
  struct Kind {
    Terms terms;
    secagg::UpdateCodec codec;
  };
  static absl::Duration LifetimeOf(const secagg::ServerOptions& options);
  static absl::StatusOr<Kind> MakeKind(const secagg::ServerOptions& server,
                                       const Terms& terms);

  // All on the executor.
  void Run(std::function<void()> work);
  const Kind& KindOfSession() const;
  // Runs `next` with the answer, unless the session is over by then.
  template <typename T>
  std::function<void(absl::StatusOr<T>)> InSession(
      absl::Time now,
      std::function<void(absl::Time now, absl::StatusOr<T> answer)> next);
  void OnRevocationList(absl::Time now, absl::StatusOr<v1::SignedMessage> list);
  absl::Status TakeRevocationList(absl::Time now, v1::SignedMessage list);
  void AppendBaseVersion(absl::Time now);
  void Offer(absl::Time now, absl::StatusOr<VersionLogHead> head);
  absl::StatusOr<secagg::Offer> MakeOffer(absl::Time now,
                                          const VersionLogHead& head) const;
  void Apply(absl::Time now, secagg::ServerEffects effects);
  void Do(absl::Time now, secagg::SendToDevices& effect);
  void Do(absl::Time now, secagg::RequestWitness& effect);
  void Do(absl::Time now, secagg::RequestSetsWitness& effect);
  void Do(absl::Time now, secagg::ApproveUnmask& effect);
  void Do(absl::Time now, secagg::WakeServerAt& effect);
  void Do(absl::Time now, secagg::GroupFinished& effect);
  void Do(absl::Time now, secagg::GroupAborted& effect);
  // Takes the registrar's answer: passes it on to the session that it is for,
  // or has the question asked again if there was none.
  template <typename Statement>
  std::function<void(absl::StatusOr<Statement>)> WhenWitnessed(
      absl::Time now, std::function<void()> ask_again,
      std::function<secagg::ServerEffects(
          absl::Time now, const absl::StatusOr<Statement>& statement)>
          pass_on);
  bool EveryGroupHasEnded() const;
  void Lose(const std::vector<secagg::LostDevice>& devices);
  // Before there is a server.
  void GiveUp(const absl::Status& why);
  void Finish();
  void TellCounted(absl::Time now);
  bool IsMember(const AssignmentId& assignment) const;
  absl::Time Now(absl::Time now) const;

  const Options options_;
  const Environment environment_;

  const Kind training_;
  const std::optional<Kind> evaluation_;

  SecureStreams streams_;
  std::optional<v1::SignedMessage> revocation_list_;
  std::unique_ptr<secagg::CertificateMembers> members_;  // by that list

  // The session under way.
  std::unique_ptr<const Session> session_;
  std::unique_ptr<secagg::SecaggServer> server_;
  std::map<DeviceId, AssignmentId> assignment_of_;
  std::map<AssignmentId, Digest> inputs_;
  std::vector<std::function<void()>> ask_again_;
  Result result_;
  std::vector<std::string> aborted_;  // why, by group
  std::set<uint32_t> ended_groups_;
  std::vector<uint32_t> finished_groups_;  // with a sum
  Done done_;
  bool stopped_ = false;

  SequentialExecutor executor_;  // last: its work uses all of the above
};

template <typename T>
std::function<void(absl::StatusOr<T>)> SecureSessions::InSession(
    absl::Time now,
    std::function<void(absl::Time now, absl::StatusOr<T> answer)> next) {
  return [weak = weak_from_this(), now, number = session_->job.session_number,
          next = std::move(next)](absl::StatusOr<T> answer) {
    const std::shared_ptr<SecureSessions> self = weak.lock();
    if (self == nullptr) return;
    self->Run([raw = self.get(), now, number, next,
               answer = std::move(answer)]() mutable {
      if (raw->session_ != nullptr &&
          raw->session_->job.session_number == number) {
        next(raw->Now(now), std::move(answer));
      }
    });
  };
}

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_INTERNAL_SECURE_SESSIONS_H_
