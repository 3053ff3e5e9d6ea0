#include "mledge/simulation/simulator.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "mledge/client/package_cache.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/coordinator/memory_storage.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/signing.h"
#include "mledge/model/package_file.h"
#include "mledge/simulation/deterministic_secret_random.h"
#include "mledge/simulation/device_model.h"
#include "mledge/simulation/event_queue.h"
#include "mledge/simulation/internal/canary_audit.h"
#include "mledge/simulation/internal/fleet.h"
#include "mledge/simulation/internal/round_log.h"
#include "mledge/simulation/internal/secure_fleet.h"
#include "mledge/simulation/internal/throwaway_signers.h"
#include "mledge/simulation/internal/training_pool.h"

namespace mledge {
namespace {

using simulation_internal::CanaryAudit;
using simulation_internal::Fleet;
using simulation_internal::MakeThrowawaySigners;
using simulation_internal::RoundLog;
using simulation_internal::SecureFleet;
using simulation_internal::ThrowawaySigners;
using simulation_internal::TrainingPool;

// Any moment will do, as long as it is always the same.
absl::Time VirtualStart() { return absl::FromUnixSeconds(1'600'000'000); }

// Devices have checked in by then, so that the first cohort is drawn from all.
constexpr absl::Duration kBeforeSubmission = absl::Seconds(10);

// A round that fails so often in a row will not succeed later either.
constexpr int64_t kFailedAttempts = 100;
// A task that is hindered for so long, without anything else happening, is
// hindered for ever: nobody joins a simulated fleet, and each device comes back
// sooner, those that vanished once their assignment has expired.
absl::Duration LongestHindrance(const v1::Task& task) {
  return absl::Hours(24) +
         absl::Seconds(task.cohort().deadline().seconds() +
                       task.cohort().minimum_interval().seconds() +
                       task.evaluation().deadline().seconds());
}

absl::Status CheckData(const ExampleStore& data, const ModelPackage& package,
                       std::string_view what) {
  const int64_t have = data.input().element_count();
  const int64_t want = package.input.element_count();
  if (have != want) {
    return absl::InvalidArgumentError(StrCat(
        what, ": an example has ", have, " values, but model ", package.name,
        " takes ", want, "; choose the model's inputs, or other data"));
  }
  const int64_t outputs = package.output.element_count();
  if (package.loss == Loss::kCrossEntropy && data.classes() > outputs) {
    return absl::InvalidArgumentError(
        StrCat(what, ": labels reach up to ", data.classes() - 1,
               ", but model ", package.name, " has ", outputs,
               " outputs; choose the model's outputs, or other data"));
  }
  if (package.loss == Loss::kMeanSquaredError &&
      data.label_width() != outputs) {
    return absl::InvalidArgumentError(
        StrCat(what, ": a label is a row of ", data.label_width(),
               ", but model ", package.name, " has ", outputs, " outputs"));
  }
  return absl::OkStatus();
}

// Empty rounds take no time at all, so that the evaluator fetches the versions
// of several in a row. More than 40/size in a row happen to nobody (e^-40).
int KeptVersions(const v1::Cohort& cohort) {
  constexpr int kKept = 2;
  return cohort.selection() == v1::Cohort::POISSON
             ? kKept + static_cast<int>(40 / cohort.size())
             : kKept;
}

class SimulatorImpl final : public Simulator {
 public:
  SimulatorImpl(Options options, std::shared_ptr<const Partition> partition,
                std::unique_ptr<CanaryAudit> audit, ThrowawaySigners signers,
                TrainerFactory* factory)
      : options_(std::move(options)),
        partition_(std::move(partition)),
        audit_(std::move(audit)),
        signers_(std::move(signers)),
        noise_random_(options_.task.seed(), "coordinator", 0, "central-noise"),
        queue_(VirtualStart()),
        storage_(MemoryStorage::Options{
            .kept_versions = KeptVersions(options_.task.cohort())}),
        pool_(options_.workers, factory, options_.on_worker_start) {}

  ~SimulatorImpl() override {
    // Callers first: the coordinator may still hold their callbacks.
    subscription_.reset();
    if (fleet_ != nullptr) fleet_->Disconnect();
    coordinator_.reset();
  }

  const Partition& partition() const override { return *partition_; }
  int workers() const override { return pool_.workers(); }
  absl::StatusOr<SimulationResult> Run() override;

 private:
  absl::Status MakeCoordinator();
  absl::Status MakeFleet();
  absl::Status Submit();
  // Until the task has ended, or has been stopped.
  absl::Status RunClock();
  absl::Status HandleEvents();
  // FAILED_PRECONDITION: the task stands still, and will for ever.
  absl::Status CheckHindrance();
  // Version `of`, or the newest, whose number goes to `version` if that is
  // wanted.
  absl::StatusOr<ParameterVector> Model(std::optional<VersionNumber> of,
                                        int64_t* version = nullptr);
  absl::StatusOr<SimulationResult> Collect();
  bool Stopped() const { return options_.stop && options_.stop(); }

  Options options_;
  const std::shared_ptr<const Partition> partition_;
  const std::unique_ptr<CanaryAudit> audit_;  // null: none was asked for
  const ThrowawaySigners signers_;
  DeterministicSecretRandom noise_random_;
  EventQueue queue_;
  MemoryStorage storage_;
  TrainingPool pool_;
  std::unique_ptr<SecureFleet> secure_;  // null: no secure aggregation
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<Fleet> fleet_;
  std::unique_ptr<Coordinator::Subscription> subscription_;
  std::unique_ptr<RoundLog> log_;
  TaskId task_;
  // The subscription's sink must not call back, so events wait here.
  std::deque<v1::TaskEvent> events_;
  SimulationProgress progress_;
  SimulationResult result_;
  absl::Time wall_start_;
  absl::Duration busy_before_;
  absl::Time submitted_at_;
  // Since when nothing has happened to the task, or CheckHindrance has looked.
  absl::Time quiet_since_ = VirtualStart();
  bool ended_ = false;
};

absl::Status SimulatorImpl::MakeCoordinator() {
  Coordinator::Dependencies dependencies;
  if (options_.task.secure_aggregation().mode() == v1::SecureAggregation::ON) {
    MLEDGE_ASSIGN_OR_RETURN(
        secure_, SecureFleet::Create(options_.task, signers_, &queue_));
    dependencies.secure_aggregation = secure_->services();
  }
  dependencies.storage = &storage_;
  dependencies.sign_version = [this](const v1::VersionStatement& statement)
      -> absl::StatusOr<v1::SignedMessage> {
    return signers_.coordinator_signer.Sign(kModelVersionContext,
                                            statement.SerializeAsString());
  };
  dependencies.privacy.random = &noise_random_;
  dependencies.privacy.noise_cohort = options_.task.simulation().noise_cohort();
  dependencies.privacy.sign_ledger_head = [this](const v1::LedgerHead& head) {
    return signers_.coordinator_signer.Sign(kLedgerHeadContext,
                                            head.SerializeAsString());
  };
  // There is one coordinator, with all that it ever said in its memory.
  dependencies.privacy.verify_ledger_head = [](const v1::SignedMessage&,
                                               absl::Time) {
    return absl::PermissionDeniedError("a head of nobody's ledger");
  };
  dependencies.wake_at = [this](absl::Time time) {
    if (time == absl::InfiniteFuture()) return;
    queue_.Push(time, [this] { coordinator_->Tick(queue_.now()); });
  };
  MLEDGE_ASSIGN_OR_RETURN(
      coordinator_,
      Coordinator::Create({}, std::move(dependencies), queue_.now()));
  return absl::OkStatus();
}

absl::Status SimulatorImpl::MakeFleet() {
  PackageCache::Options cache_options;
  cache_options.trusted.root_pem = signers_.root_pem;
  cache_options.trusted.operators = {simulation_internal::kThrowawayId};
  cache_options.trusted.model_signers = {simulation_internal::kThrowawayId};
  cache_options.parameters_kept = 1;
  cache_options.noise_cohort = options_.task.simulation().noise_cohort();
  MLEDGE_ASSIGN_OR_RETURN(std::shared_ptr<PackageCache> cache,
                          PackageCache::Create(std::move(cache_options)));
  Fleet::Options fleet_options;
  fleet_options.partition = partition_;
  fleet_options.training_data = options_.training_data;
  fleet_options.test_data = options_.test_data;
  fleet_options.model.emplace(options_.task.simulation().device_model(),
                              options_.task.seed());
  fleet_options.population = options_.task.population();
  fleet_options.cache = std::move(cache);
  fleet_options.secure = secure_.get();
  fleet_options.wire = options_.wire;
  fleet_options.audit = audit_.get();
  fleet_options.stop = [this] { return Stopped(); };
  fleet_options.on_notice = [this](std::string_view device,
                                   const Notice& notice) {
    if (options_.on_warning && notice.severity == Notice::Severity::kWarning) {
      options_.on_warning(StrCat(device, ": ", notice.text));
    }
  };
  fleet_ = std::make_unique<Fleet>(std::move(fleet_options), &queue_,
                                   coordinator_.get(), &pool_);
  return absl::OkStatus();
}

absl::Status SimulatorImpl::Submit() {
  Coordinator::Submission submission;
  MLEDGE_ASSIGN_OR_RETURN(
      submission.package_file,
      SerializePackageFile(options_.package, signers_.model_signer));
  submission.task = options_.task;
  submission.task.clear_simulation();
  submission.task.mutable_model()->set_package_sha256(
      Sha256Of(submission.package_file).ToHex());
  const v1::SignedMessage signed_task = signers_.operator_signer.Sign(
      kTaskContext, submission.task.SerializeAsString());
  submission.signed_task = signed_task.SerializeAsString();
  MLEDGE_ASSIGN_OR_RETURN(const UnverifiedPackageFile parsed,
                          ParsePackageFileUnverified(submission.package_file));
  fleet_->ChargeBlob(Sha256Of(submission.signed_task),
                     simulation_internal::ChargedSize(signed_task));
  fleet_->ChargeBlob(
      parsed.sha256,
      submission.package_file.size() - parsed.signed_manifest.ByteSizeLong() +
          simulation_internal::ChargedSize(parsed.signed_manifest));
  submission.submitted_by = simulation_internal::kThrowawayId;
  absl::Status outcome = absl::UnavailableError("no answer");
  coordinator_->SubmitTask(queue_.now(), std::move(submission),
                           [&](absl::StatusOr<TaskId> task) {
                             outcome = task.status();
                             if (task.ok()) task_ = *std::move(task);
                           });
  MLEDGE_RETURN_IF_ERROR(outcome);
  MLEDGE_ASSIGN_OR_RETURN(
      subscription_,
      coordinator_->Watch(task_, [this](const v1::TaskEvent& event) {
        events_.push_back(event);
      }));
  return absl::OkStatus();
}

absl::Status SimulatorImpl::CheckHindrance() {
  if (queue_.now() < quiet_since_ + LongestHindrance(options_.task)) {
    return absl::OkStatus();
  }
  quiet_since_ = queue_.now();
  MLEDGE_ASSIGN_OR_RETURN(const v1::GetTaskResponse task,
                          coordinator_->GetTask(task_));
  const std::string& hindrance = task.summary().hindrance();
  if (hindrance.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      StrCat("task ", task_.value(), " stands still after round ",
             progress_.round, ": ", hindrance,
             ". Nobody joins a simulated fleet of ", partition_->devices(),
             " devices: let it have more of them (simulation.devices), "
             "allow more privacy.participations or less privacy.separation, "
             "or ask for fewer rounds (stop.rounds)"));
}

absl::Status SimulatorImpl::HandleEvents() {
  if (!events_.empty()) quiet_since_ = queue_.now();
  while (!events_.empty()) {
    const v1::TaskEvent event = std::move(events_.front());
    events_.pop_front();
    if (audit_ != nullptr && event.has_round_completed()) {
      // Not the newest: rounds without a device follow each other at once.
      MLEDGE_ASSIGN_OR_RETURN(
          const ParameterVector model,
          Model(VersionNumber(event.round_completed().version())));
      audit_->Released(event.round(), model.values());
    }
    log_->Add(event, queue_.now(), fleet_->traffic());
    if (event.has_round_started()) {
      progress_.round = event.round();
      progress_.acknowledged = 0;
      progress_.wanted = event.round_started().cohort_size();
    } else if (event.has_round_progress()) {
      progress_.acknowledged = event.round_progress().acknowledged();
      progress_.wanted = event.round_progress().wanted();
    } else if (event.has_round_completed() || event.has_round_failed()) {
      fleet_->RoundClosed(event.round());
    } else if (event.has_task_ended()) {
      result_.state = event.task_ended().state();
      result_.reason = event.task_ended().reason();
      ended_ = true;
    }
    if (options_.on_progress) options_.on_progress(progress_);
  }
  if (log_->failed_attempts() >= kFailedAttempts) {
    return absl::FailedPreconditionError(
        StrCat("round ", progress_.round, " failed ", kFailedAttempts,
               " times in a row, the last time because: ", log_->last_failure(),
               "; change the cohort, its deadline or the device model"));
  }
  return absl::OkStatus();
}

absl::Status SimulatorImpl::RunClock() {
  while (!ended_) {
    if (Stopped()) {
      result_.stopped = true;
      return absl::OkStatus();
    }
    if (!queue_.RunNext()) {
      return absl::FailedPreconditionError(
          StrCat("nothing happens any more in round ", progress_.round,
                 ", and the task has not ended: does cohort.minimum_waiting (",
                 options_.task.cohort().minimum_waiting(),
                 ") ask for more devices than the ", partition_->devices(),
                 " of the fleet?"));
    }
    MLEDGE_RETURN_IF_ERROR(HandleEvents());
    if (!ended_) MLEDGE_RETURN_IF_ERROR(CheckHindrance());
  }
  return absl::OkStatus();
}

absl::StatusOr<SimulationResult> SimulatorImpl::Run() {
  MLEDGE_RETURN_IF_ERROR(MakeCoordinator());
  MLEDGE_RETURN_IF_ERROR(MakeFleet());
  fleet_->Start();
  absl::Status submitted = absl::OkStatus();
  queue_.Push(queue_.now() + kBeforeSubmission, [&] { submitted = Submit(); });
  submitted_at_ = queue_.now() + kBeforeSubmission;
  const v1::Task& task = options_.task;
  progress_.rounds = task.stop().rounds();
  const bool evaluates = options_.test_data != nullptr ||
                         task.evaluation().where() == v1::Evaluation::DEVICES;
  wall_start_ = absl::Now();
  busy_before_ = pool_.busy();
  log_ = std::make_unique<RoundLog>(RoundLog::Options{
      .evaluation_every = evaluates ? task.evaluation().every() : 0,
      .rounds = task.stop().rounds(),
      .virtual_start = submitted_at_,
      .wall_start = wall_start_,
      .audit_bound = [this]() -> std::optional<double> {
        if (audit_ == nullptr) return std::nullopt;
        const auto report = audit_->Report();
        if (!report.ok()) return std::nullopt;
        return report->epsilon_lower_bound;
      },
      .on_round = options_.on_round});
  while (queue_.now() < submitted_at_ && queue_.RunNext()) {
  }
  MLEDGE_RETURN_IF_ERROR(submitted);
  MLEDGE_RETURN_IF_ERROR(HandleEvents());
  MLEDGE_RETURN_IF_ERROR(RunClock());
  return Collect();
}

absl::StatusOr<ParameterVector> SimulatorImpl::Model(
    std::optional<VersionNumber> of, int64_t* version) {
  MLEDGE_ASSIGN_OR_RETURN(const Coordinator::ModelBlobs model,
                          coordinator_->OpenModel(task_, of));
  MLEDGE_ASSIGN_OR_RETURN(
      const std::string bytes,
      model.parameters->Read(0, model.parameters->size_in_bytes()));
  std::vector<float> values(bytes.size() / sizeof(float));
  std::copy(bytes.begin(), bytes.begin() + values.size() * sizeof(float),
            reinterpret_cast<char*>(values.data()));
  if (version != nullptr) *version = model.version.version();
  return ParameterVector::FromValues(options_.package.layout, values);
}

absl::StatusOr<SimulationResult> SimulatorImpl::Collect() {
  log_->Flush();
  result_.rounds = log_->rows();
  result_.virtual_time = queue_.now() - submitted_at_;
  result_.wall_time = absl::Now() - wall_start_;
  result_.training_time = pool_.busy() - busy_before_;
  result_.vanished_devices = fleet_->vanished();
  MLEDGE_ASSIGN_OR_RETURN(result_.parameters,
                          Model(std::nullopt, &result_.version));
  result_.parameters_sha256 = result_.parameters.ContentHash();
  if (audit_ != nullptr) {
    MLEDGE_ASSIGN_OR_RETURN(result_.audit, audit_->Report());
  }
  return result_;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Simulator>> Simulator::Create(
    Options options, TrainerFactory* factory) {
  if (options.training_data == nullptr) {
    return absl::InvalidArgumentError(
        "simulation.training_data: missing; name the data that the devices "
        "train on");
  }
  MLEDGE_RETURN_IF_ERROR(CheckData(*options.training_data, options.package,
                                   "simulation.training_data"));
  if (options.test_data != nullptr) {
    MLEDGE_RETURN_IF_ERROR(
        CheckData(*options.test_data, options.package, "simulation.test_data"));
  }
  std::shared_ptr<const Partition> partition = options.partition;
  if (partition == nullptr) {
    MLEDGE_ASSIGN_OR_RETURN(
        Partition made,
        PartitionExamples(options.task.simulation(), options.task.seed(),
                          *options.training_data));
    partition = std::make_shared<const Partition>(std::move(made));
  }
  const v1::Cohort& cohort = options.task.cohort();
  const double assigned =
      std::ceil(static_cast<double>(cohort.size()) * cohort.over_selection());
  if (static_cast<double>(partition->devices()) <
      std::max(assigned, static_cast<double>(cohort.minimum_waiting()))) {
    return absl::InvalidArgumentError(
        StrCat("cohort: a round wants ", assigned,
               " devices (size times "
               "over_selection) and ",
               cohort.minimum_waiting(), " waiting, but the fleet has ",
               partition->devices(),
               "; raise simulation.devices or lower the cohort"));
  }
  if (cohort.selection() == v1::Cohort::POISSON &&
      partition->devices() != cohort.minimum_waiting()) {
    return absl::InvalidArgumentError(StrCat(
        "cohort.minimum_waiting: is ", cohort.minimum_waiting(),
        "; with `selection: poisson` it is the roster, and the fleet has ",
        partition->devices(), " devices: write that"));
  }
  if (options.workers <= 0) {
    options.workers =
        static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  }
  std::unique_ptr<CanaryAudit> audit;
  if (options.audit_canaries != 0) {
    MLEDGE_ASSIGN_OR_RETURN(
        audit,
        CanaryAudit::Create(options.task, options.package,
                            options.audit_canaries, partition->devices()));
  }
  MLEDGE_ASSIGN_OR_RETURN(ThrowawaySigners signers,
                          MakeThrowawaySigners(VirtualStart()));
  return std::make_unique<SimulatorImpl>(std::move(options),
                                         std::move(partition), std::move(audit),
                                         std::move(signers), factory);
}

}  // namespace mledge
