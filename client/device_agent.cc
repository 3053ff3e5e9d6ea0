#include "mledge/client/device_agent.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "mledge/client/uploader.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

using Blob = std::shared_ptr<const std::string>;

void LogNotice(const Notice& notice) {
  if (notice.severity == Notice::Severity::kWarning) {
    LOG(WARNING) << notice.text;
  } else {
    LOG(INFO) << notice.text;
  }
}

// Takes what a fetch has brought into the cache, and out of it again.
absl::StatusOr<Blob> FinishFetch(BlobWriter& writer, bool resumed,
                                 uint64_t size_in_bytes, const Digest& digest,
                                 DeviceStorage& storage) {
  if (writer.offset() < size_in_bytes) {
    return absl::UnavailableError(StrCat(
        "the coordinator sent ", writer.offset(), " bytes of ", size_in_bytes));
  }
  const absl::Status committed = writer.Commit();
  if (absl::IsDataLoss(committed) && resumed) {
    // What was here from an earlier attempt may have been the fault; the next
    // attempt starts from nothing.
    return absl::UnavailableError(committed.message());
  }
  MLEDGE_RETURN_IF_ERROR(committed);
  return storage.ReadBlob(digest);
}

}  // namespace

struct DeviceAgent::Inbox {
  void Post(Event event) {
    MutexLock lock(&mutex);
    events.push_back(std::move(event));
    wake.SignalAll();
  }

  Mutex mutex;
  CondVar wake;
  std::deque<Event> events ABSL_GUARDED_BY(mutex);
  bool stopping ABSL_GUARDED_BY(mutex) = false;
};

absl::StatusOr<std::unique_ptr<DeviceAgent>> DeviceAgent::Create(
    Options options, Dependencies dependencies) {
  if (dependencies.connection == nullptr || dependencies.storage == nullptr ||
      dependencies.trainers == nullptr || dependencies.examples == nullptr) {
    return absl::InvalidArgumentError(
        "a device needs a connection, a storage, trainers and examples");
  }
  if (dependencies.examples->size() == 0) {
    return absl::InvalidArgumentError(
        "the data source holds no examples: a device without examples cannot "
        "take part");
  }
  MLEDGE_RETURN_IF_ERROR(
      ValidateId("device id", options.session.device.value()));
  if (dependencies.on_notice == nullptr) dependencies.on_notice = LogNotice;
  MLEDGE_ASSIGN_OR_RETURN(std::shared_ptr<PackageCache> cache,
                          PackageCache::Create({.trusted = options.trusted}));
  return std::unique_ptr<DeviceAgent>(new DeviceAgent(
      std::move(options), std::move(dependencies), std::move(cache)));
}

DeviceAgent::DeviceAgent(Options options, Dependencies dependencies,
                         std::shared_ptr<PackageCache> cache)
    : options_(std::move(options)),
      dependencies_(std::move(dependencies)),
      clock_(dependencies_.clock != nullptr ? dependencies_.clock
                                            : &real_clock_),
      inbox_(std::make_shared<Inbox>()),
      session_(options_.session, std::move(cache)) {}

DeviceAgent::~DeviceAgent() = default;

void DeviceAgent::Stop() {
  MutexLock lock(&inbox_->mutex);
  inbox_->stopping = true;
  inbox_->wake.SignalAll();
}

absl::Status DeviceAgent::Run() {
  MLEDGE_ASSIGN_OR_RETURN(std::optional<JournalRecord> journal,
                          dependencies_.storage->LoadJournal());
  if (journal.has_value()) session_.Restore(*std::move(journal));
  MLEDGE_ASSIGN_OR_RETURN(const auto records,
                          dependencies_.storage->LoadPrivacyRecords());
  MLEDGE_ASSIGN_OR_RETURN(PrivacyLedger ledger,
                          PrivacyLedger::Restore(records));
  session_.RestorePrivacy(std::move(ledger));
  worker_ = std::make_unique<TrainingWorker>(
      options_.training, dependencies_.trainers, dependencies_.examples,
      dependencies_.storage);
  Apply(session_.Start(clock_->TimeNow()));
  Apply(TakeSecureOutcome());
  while (std::optional<Event> event = NextEvent()) {
    Apply((*event)(session_, clock_->TimeNow()));
    Apply(TakeSecureOutcome());
  }
  Apply(session_.Stop(clock_->TimeNow()));
  dependencies_.connection->CancelAll();
  worker_.reset();  // waits for the snapshot
  secure_.reset();
  return absl::OkStatus();
}

std::optional<DeviceAgent::Event> DeviceAgent::NextEvent() {
  // Wall clocks jump; no wait is longer than this.
  constexpr absl::Duration kLongestWait = absl::Seconds(1);
  MutexLock lock(&inbox_->mutex);
  while (true) {
    if (inbox_->stopping) return std::nullopt;
    if (!inbox_->events.empty()) {
      Event event = std::move(inbox_->events.front());
      inbox_->events.pop_front();
      return event;
    }
    const absl::Time now = clock_->TimeNow();
    const bool set_back = now < last_look_;
    last_look_ = now;
    const absl::Time secure_wakes_at =
        secure_ != nullptr ? secure_->wake_at() : absl::InfiniteFuture();
    const absl::Duration left = std::min(wake_at_, secure_wakes_at) - now;
    if (left <= absl::ZeroDuration() || set_back) {
      return [this, set_back, secure_wakes_at](DeviceSession& session,
                                               absl::Time now) -> Effects {
        if (secure_ != nullptr && (set_back || now >= secure_wakes_at)) {
          secure_->OnWake(now);
        }
        if (!set_back && now < wake_at_) return {};
        wake_at_ = absl::InfiniteFuture();
        return session.OnWake(now);
      };
    }
    inbox_->wake.WaitWithTimeout(&inbox_->mutex, std::min(left, kLongestWait));
  }
}

void DeviceAgent::Apply(Effects effects) {
  for (Effect& effect : effects) {
    std::visit([this](auto& e) { Do(e); }, effect);
  }
  MutexLock lock(&mutex_);
  phase_ = session_.phase();
  counters_ = session_.counters();
}

void DeviceAgent::Do(SendCheckIn& effect) {
  dependencies_.connection->CheckIn(
      effect.request, options_.session.check_in_timeout,
      [inbox = inbox_, call = effect.call](auto answer) {
        inbox->Post([call, answer = std::move(answer)](DeviceSession& session,
                                                       absl::Time now) {
          return session.OnCheckInAnswer(now, call, answer);
        });
      });
}

void DeviceAgent::Do(FetchBlob& effect) {
  DeviceStorage* const storage = dependencies_.storage;
  auto post = [inbox = inbox_, call = effect.call](absl::StatusOr<Blob> blob) {
    inbox->Post(
        [call, blob = std::move(blob)](DeviceSession& session, absl::Time now) {
          return session.OnFetched(now, call, blob);
        });
  };
  absl::StatusOr<Blob> cached = storage->ReadBlob(effect.digest);
  if (cached.ok()) {
    post(std::move(cached));
    return;
  }
  absl::StatusOr<std::unique_ptr<BlobWriter>> opened =
      storage->OpenBlobWriter(effect.digest, effect.size_in_bytes);
  if (!opened.ok()) {
    post(opened.status());
    return;
  }
  std::shared_ptr<BlobWriter> writer = *std::move(opened);
  const uint64_t offset = writer->offset();
  auto finish = [writer, offset, storage, digest = effect.digest,
                 size = effect.size_in_bytes, post](absl::Status status) {
    if (!status.ok()) {
      post(status);
      return;
    }
    post(FinishFetch(*writer, offset > 0, size, digest, *storage));
  };
  if (offset == effect.size_in_bytes) {
    finish(absl::OkStatus());
    return;
  }
  dependencies_.connection->Fetch(
      effect.digest, offset,
      [writer](std::string_view bytes) { return writer->Append(bytes); },
      options_.session.transfer_timeout, finish);
}

void DeviceAgent::Do(Persist& effect) {
  absl::Status status;
  if (!effect.record.update.has_value()) {
    status = dependencies_.storage->SaveAssignment(effect.record.assignment);
  } else if (prepared_ == nullptr ||
             prepared_->finished != *effect.record.update) {
    status = absl::InternalError("the update to be stored is not at hand");
  } else {
    status = dependencies_.storage->SaveUpdate(
        prepared_->finished, prepared_->context, prepared_->update,
        effect.charge);
    prepared_.reset();
  }
  inbox_->Post(
      [call = effect.call, status](DeviceSession& session, absl::Time now) {
        return session.OnPersisted(now, call, status);
      });
}

void DeviceAgent::Do(StartTraining& effect) {
  worker_->Start(effect.job, [this, inbox = inbox_, call = effect.call](
                                 absl::StatusOr<PreparedUpdate> result) {
    if (!result.ok()) {
      inbox->Post([call, status = result.status()](DeviceSession& session,
                                                   absl::Time now) {
        return session.OnTrainingFinished(now, call, status);
      });
      return;
    }
    // The event runs in Run, so `this` is alive.
    auto prepared = std::make_shared<const PreparedUpdate>(*std::move(result));
    inbox->Post([this, call, prepared](DeviceSession& session, absl::Time now) {
      prepared_ = prepared;
      return session.OnTrainingFinished(now, call, prepared->finished);
    });
  });
}

void DeviceAgent::Do(StopTraining& effect) {
  worker_->Stop(effect.keep_snapshot);
}

void DeviceAgent::Do(Upload& effect) {
  auto post = [inbox = inbox_,
               call = effect.call](absl::StatusOr<v1::UploadResult> answer) {
    inbox->Post([call, answer = std::move(answer)](DeviceSession& session,
                                                   absl::Time now) {
      return session.OnUploadAnswer(now, call, answer);
    });
  };
  absl::StatusOr<std::shared_ptr<const UploadSource>> source =
      dependencies_.storage->OpenUpdate(effect.assignment);
  if (!source.ok()) {
    post(source.status());
    return;
  }
  dependencies_.connection->Upload(
      MakeUploadHeader(effect.assignment, effect.update), *std::move(source),
      options_.session.transfer_timeout, post);
}

void DeviceAgent::Do(AggregateSecurely& effect) {
  SecureIdentity* const identity = dependencies_.secure;
  auto runner = [&]() -> absl::StatusOr<std::unique_ptr<SecureRunner>> {
    if (identity == nullptr) {
      return absl::FailedPreconditionError(
          "this device has no registrar in its configuration any more, and "
          "takes no part in secure aggregation");
    }
    return SecureRunner::Create(
        {.device = options_.session.device,
         .policy = options_.secure,
         .backoff = options_.session.backoff},
        {.signer = identity->signer(),
         .members = identity->members(),
         .random = identity->random(),
         .rounding = identity->random(),
         .registrar = identity->registrar()},
        {.connection = dependencies_.connection,
         .storage = dependencies_.storage,
         .post =
             [inbox = inbox_](std::function<void(absl::Time)> event) {
               inbox->Post([event = std::move(event)](
                               DeviceSession&, absl::Time now) -> Effects {
                 event(now);
                 return {};
               });
             },
         .on_notice = dependencies_.on_notice},
        effect.assignment, options_.session.transfer_timeout);
  }();
  if (!runner.ok()) {
    inbox_->Post([call = effect.call, status = runner.status()](
                     DeviceSession& session, absl::Time now) {
      return session.OnAggregated(now, call, status);
    });
    return;
  }
  secure_ = *std::move(runner);
  secure_call_ = effect.call;
  secure_->Start(clock_->TimeNow());
}

Effects DeviceAgent::TakeSecureOutcome() {
  if (secure_ == nullptr || !secure_->outcome().has_value()) return {};
  const absl::StatusOr<SecureOutcome> outcome = *secure_->outcome();
  secure_.reset();
  return session_.OnAggregated(clock_->TimeNow(), secure_call_, outcome);
}

void DeviceAgent::Do(SendReport& effect) {
  dependencies_.connection->Report(
      effect.request, options_.session.report_timeout,
      [inbox = inbox_,
       call = effect.call](absl::StatusOr<v1::ReportResponse> answer) {
        inbox->Post([call, status = answer.status()](DeviceSession& session,
                                                     absl::Time now) {
          return session.OnReportAnswer(now, call, status);
        });
      });
}

void DeviceAgent::Do(Forget& effect) {
  const absl::Status status = dependencies_.storage->Forget(effect.assignment);
  if (!status.ok()) {
    LOG(WARNING) << "Cannot clear the journal: " << status.message();
  }
}

void DeviceAgent::Do(WakeAt& effect) { wake_at_ = effect.time; }

void DeviceAgent::Do(Notice& effect) { dependencies_.on_notice(effect); }

DeviceSession::Phase DeviceAgent::phase() const {
  MutexLock lock(&mutex_);
  return phase_;
}

DeviceSession::Counters DeviceAgent::counters() const {
  MutexLock lock(&mutex_);
  return counters_;
}

}  // namespace mledge
