#include "mledge/client/secure_runner.h"

#include <string>
#include <utility>
#include <variant>

#include "mledge/aggregation/update_file.h"
#include "mledge/client/memory_device_storage.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"

namespace mledge {
namespace {

absl::StatusOr<std::shared_ptr<const Update>> ReadUpdate(
    DeviceStorage& storage, const AssignmentId& assignment) {
  MLEDGE_ASSIGN_OR_RETURN(std::shared_ptr<const UploadSource> source,
                          storage.OpenUpdate(assignment));
  MLEDGE_ASSIGN_OR_RETURN(std::string bytes,
                          source->Read(0, source->size_in_bytes()));
  MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<UpdateFile> file,
                          UpdateFile::FromBytes(std::move(bytes)));
  return std::make_shared<const Update>(file->view().ToUpdate());
}

}  // namespace

absl::StatusOr<std::unique_ptr<SecureRunner>> SecureRunner::Create(
    SecureParticipation::Options options,
    SecureParticipation::Dependencies participation, Dependencies dependencies,
    const v1::Assignment& assignment, absl::Duration upload_timeout) {
  MLEDGE_ASSIGN_OR_RETURN(std::shared_ptr<const Update> update,
                          ReadUpdate(*dependencies.storage,
                                     AssignmentId(assignment.assignment_id())));
  MLEDGE_ASSIGN_OR_RETURN(const Digest task,
                          Digest::FromBytes(assignment.secure().task_sha256()));
  MLEDGE_ASSIGN_OR_RETURN(SecaggJournal journal,
                          dependencies.storage->LoadSecaggJournal(task));
  MLEDGE_ASSIGN_OR_RETURN(
      std::unique_ptr<SecureParticipation> made,
      SecureParticipation::Create(std::move(options), std::move(participation),
                                  assignment, std::move(update),
                                  std::move(journal)));
  return std::unique_ptr<SecureRunner>(new SecureRunner(
      std::move(made), std::move(dependencies), upload_timeout));
}

SecureRunner::SecureRunner(std::unique_ptr<SecureParticipation> participation,
                           Dependencies dependencies,
                           absl::Duration upload_timeout)
    : participation_(std::move(participation)),
      dependencies_(std::move(dependencies)),
      upload_timeout_(upload_timeout),
      self_(std::make_shared<SecureRunner*>(this)) {}

SecureRunner::~SecureRunner() {
  if (stream_ != nullptr) stream_->Close();
}

template <typename Event>
void SecureRunner::PostEvent(const Post& post,
                             std::weak_ptr<SecureRunner*> runner, Event event) {
  post([runner = std::move(runner), event = std::move(event)](absl::Time now) {
    // Only the runner's own thread destroys it, and this is that thread.
    const std::shared_ptr<SecureRunner*> self = runner.lock();
    if (self == nullptr) return;
    (*self)->Apply(event(*(*self)->participation_, now));
  });
}

void SecureRunner::Start(absl::Time now) { Apply(participation_->Start(now)); }

void SecureRunner::OnWake(absl::Time now) {
  wake_at_ = absl::InfiniteFuture();
  Apply(participation_->OnWake(now));
}

void SecureRunner::Apply(SecureEffects effects) {
  for (SecureEffect& effect : effects) {
    std::visit([this](auto& e) { Do(e); }, effect);
  }
}

void SecureRunner::Do(OpenSecureStream& effect) {
  const std::weak_ptr<SecureRunner*> self = self_;
  stream_ = dependencies_.connection->OpenSecureAggregation(
      effect.join,
      [post = dependencies_.post, self,
       call = effect.call](v1::SecureAggregationResponse message) {
        PostEvent(post, self,
                  [call, message = std::move(message)](
                      SecureParticipation& participation, absl::Time now) {
                    return participation.OnStreamMessage(now, call, message);
                  });
      },
      [post = dependencies_.post, self,
       call = effect.call](absl::Status status) {
        PostEvent(
            post, self,
            [call, status](SecureParticipation& participation, absl::Time now) {
              return participation.OnStreamClosed(now, call, status);
            });
      });
}

void SecureRunner::Do(SendSecurely& effect) {
  if (stream_ != nullptr) stream_->Send(std::move(effect.message));
}

void SecureRunner::Do(CloseSecureStream&) {
  if (stream_ != nullptr) stream_->Close();
  stream_.reset();
}

void SecureRunner::Do(SaveSecaggJournal& effect) {
  const absl::Status status = dependencies_.storage->SaveSecaggJournal(
      effect.task, effect.journal, effect.action,
      std::move(effect.masked_input));
  PostEvent(dependencies_.post, self_,
            [call = effect.call, status](SecureParticipation& participation,
                                         absl::Time now) {
              return participation.OnSaved(now, call, status);
            });
}

void SecureRunner::Do(UploadMasked& effect) {
  dependencies_.connection->Upload(
      effect.header, std::make_shared<MemoryUploadSource>(effect.bytes),
      upload_timeout_,
      [post = dependencies_.post, self = std::weak_ptr<SecureRunner*>(self_),
       call = effect.call](absl::StatusOr<v1::UploadResult> answer) {
        PostEvent(post, self,
                  [call, answer = std::move(answer)](
                      SecureParticipation& participation, absl::Time now) {
                    return participation.OnUploadAnswer(now, call, answer);
                  });
      });
}

void SecureRunner::Do(KeepListNumber& effect) {
  const absl::Status status =
      dependencies_.storage->SaveListNumber(effect.number);
  if (!status.ok()) {
    LOG(WARNING) << "Cannot keep the revocation list's number: "
                 << status.message();
  }
}

void SecureRunner::Do(Aggregated& effect) {
  outcome_ = std::move(effect.outcome);
}

void SecureRunner::Do(WakeAt& effect) { wake_at_ = effect.time; }

void SecureRunner::Do(Notice& effect) { dependencies_.on_notice(effect); }

}  // namespace mledge
