#include "mledge/coordinator/internal/task_context.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "mledge/aggregation/fixed_point.h"
#include "mledge/aggregation/secagg/hadamard.h"
#include "mledge/coordinator/internal/private_task_plan.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/model/package_file.h"
#include "mledge/v1/signature.pb.h"

namespace mledge {
namespace {

void SetBlob(v1::Blob* blob, const Digest& sha256, uint64_t size) {
  blob->set_sha256(sha256.ToBytes());
  blob->set_size_in_bytes(size);
}

// "parameter fc1.weight[3], index 12 of section "delta", is nan": where a value
// is bad and what it is; nothing if every value is good.
std::optional<std::string> DescribeBadValue(const ParameterLayout& layout,
                                            const UpdateView::Section& section,
                                            double bound) {
  const std::optional<size_t> index = FindOutside(section.values, bound);
  if (!index.has_value()) return std::nullopt;
  const auto position = static_cast<int64_t>(*index);
  std::string where;
  for (const ParameterEntry& entry : layout.entries()) {
    if (position >= entry.offset && position < entry.offset + entry.extent()) {
      where =
          StrCat("parameter ", entry.name, "[", position - entry.offset, "], ");
      break;
    }
  }
  return StrCat(where, "index ", position, " of section \"", section.name,
                "\", is ", section.values[*index],
                "; the task's bound (aggregation.value_bound) is ", bound);
}

// `shared_size` 0: of evaluations.
SecureSessions::Terms ResolveTerms(const v1::Task& task, int64_t shared_size,
                                   int64_t devices, int64_t minimum) {
  const v1::SecureAggregation& secure = task.secure_aggregation();
  const v1::Aggregation& aggregation = task.aggregation();
  SecureSessions::Terms terms;
  terms.codec = {
      .shared_size = shared_size,
      .value_bound = aggregation.value_bound(),
      .weight_bound = aggregation.weight_bound(),
      .uniform_weight = aggregation.weighting() == v1::Aggregation::UNIFORM,
      .maximum_updates = devices,
      .value_bits = secure.value_bits()};
  terms.largest_group = secure.group_size() < devices ? secure.group_size() : 0;
  terms.least_devices = std::max<int64_t>(
      secagg::kFewestClients, terms.largest_group > 0
                                  ? std::min(minimum, terms.largest_group / 2)
                                  : minimum);
  terms.least_alive = std::max<int64_t>(2, secure.least_alive());
  return terms;
}

// Of training.
SecureSessions::Terms ResolveTrainingTerms(const TaskContext& context,
                                           const TaskPlan& plan) {
  SecureSessions::Terms terms = ResolveTerms(
      context.task, context.layout->shared_size(), plan.target, plan.minimum);
  if (context.private_task != nullptr) {
    const PrivateTask& of = *context.private_task;
    terms.codec.shared_size = of.dimension;
    terms.codec.value_bound = of.value_bound;
    terms.codec.weight_bound = 1;
    terms.codec.value_bits = 0;
    terms.codec.grid = {.fraction_bits = of.fraction_bits,
                        .modulus_bits = of.modulus_bits.value_or(32)};
    terms.codec.clip_bit = of.count_noise.has_value();
  }
  return terms;
}

SecureSessions::Options ResolveSecureAggregation(
    const TaskContext& context, const TaskPlan& plan, const Digest& package,
    int64_t registrar_sessions_per_day) {
  const v1::Task& task = context.task;
  const v1::SecureAggregation& secure = task.secure_aggregation();
  SecureSessions::Options options;
  options.task = context.task_sha256;
  options.package = package;
  options.training = ResolveTrainingTerms(context, plan);
  if (plan.IsSecure(AssignmentKind::kEvaluate)) {
    options.evaluation =
        ResolveTerms(task, 0, plan.evaluation_devices, plan.evaluation_minimum);
  }
  const absl::Duration step = absl::Seconds(secure.step_deadline().seconds()) +
                              absl::Nanoseconds(secure.step_deadline().nanos());
  options.server = {.corrupt_fraction = secure.corrupt_fraction(),
                    .dropout_fraction = secure.dropout_fraction(),
                    .threat_model = secure.threat_model() ==
                                            v1::SecureAggregation::SEMI_HONEST
                                        ? secagg::ThreatModel::kSemiHonest
                                        : secagg::ThreatModel::kSemiMalicious,
                    .registrar_sessions_per_day = registrar_sessions_per_day,
                    .advertise_time = step,
                    .share_time = step,
                    .masked_input_time = step,
                    .consistency_time = step,
                    .unmask_time = step};
  return options;
}

void SetSecureAssignment(const SecureSessions::Options& options,
                         const secagg::UpdateCodecOptions& codec,
                         const PrivateTask* of, v1::SecureAssignment* message) {
  message->set_task_sha256(options.task.ToBytes());
  message->set_shared_size(codec.shared_size);
  message->set_value_bound(codec.value_bound);
  message->set_weight_bound(codec.weight_bound);
  message->set_uniform_weight(codec.uniform_weight);
  message->set_maximum_updates(codec.maximum_updates);
  message->set_value_bits(codec.value_bits);
  if (codec.grid.has_value()) {
    message->mutable_grid()->set_fraction_bits(codec.grid->fraction_bits);
    message->mutable_grid()->set_modulus_bits(codec.grid->modulus_bits);
    message->mutable_grid()->set_least_honest(of->least_honest);
    message->mutable_grid()->set_corrupt_fraction(of->corrupt_fraction);
  }
  message->set_clip_bit(codec.clip_bit);
  message->set_semi_honest(options.server.threat_model ==
                           secagg::ThreatModel::kSemiHonest);
}

absl::Status LoadPrivacy(const LoadOptions& options, LoadedTask* loaded) {
  TaskContext& context = *loaded->context;
  if (options.ended && options.ledger != nullptr && !options.ledger->empty()) {
    const v1::LedgerSchedule& schedule = options.ledger->schedule();
    loaded->plan.privacy =
        PrivacyPlan{.schedule = schedule,
                    .participations_within_budget = schedule.participations()};
    return absl::OkStatus();
  }
  MLEDGE_ASSIGN_OR_RETURN(
      PrivateTask resolved,
      ResolveNumbers(context.task, *context.layout, options.noise_cohort));
  MLEDGE_ASSIGN_OR_RETURN(
      loaded->plan.privacy,
      ResolvePrivacyPlan(resolved, context.task_sha256,
                         options.ledger == nullptr ? Ledger(context.task_sha256)
                                                   : *options.ledger));
  context.private_task =
      std::make_shared<const PrivateTask>(std::move(resolved));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Aggregator>> MakeTrainingSum(
    const TaskContext& context) {
  const v1::Aggregation& aggregation = context.task.aggregation();
  // Of a Poisson sample everybody may be part.
  const v1::Cohort& cohort = context.task.cohort();
  const int64_t updates = cohort.selection() == v1::Cohort::POISSON
                              ? cohort.minimum_waiting()
                              : cohort.size();
  if (context.private_task != nullptr) {
    const PrivateTask& of = *context.private_task;
    AggregationSpec spec =
        TrainingAggregationSpec(of.dimension, of.value_bound, 1, true, updates);
    if (of.count_noise.has_value()) {
      spec.scalars.emplace_back(kClipBitScalar);
    }
    return Aggregator::Create(std::move(spec));
  }
  return Aggregator::Create(TrainingAggregationSpec(
      context.layout->shared_size(), aggregation.value_bound(),
      aggregation.weight_bound(),
      aggregation.weighting() == v1::Aggregation::UNIFORM, updates));
}

absl::StatusOr<PrivateTask> ResolveNumbers(const v1::Task& task,
                                           const ParameterLayout& layout,
                                           int64_t noise_cohort) {
  MLEDGE_ASSIGN_OR_RETURN(
      const int64_t rotated_size,
      secagg::HadamardRotation::PaddedSize(layout.shared_size()));
  return ResolvePrivateTask(
      task, layout,
      {.rotated_size = rotated_size, .noise_cohort = noise_cohort});
}

absl::StatusOr<LoadedTask> LoadTask(v1::Task task,
                                    const std::string& signed_task,
                                    std::string_view package_file,
                                    const LoadOptions& options) {
  LoadedTask loaded;
  loaded.plan = ResolveTask(task);
  loaded.plan.session = options.session;
  if (loaded.plan.target < 1 || loaded.plan.rounds < 1) {
    return absl::InvalidArgumentError(
        StrCat("task ", task.name(),
               " was not validated: cohort.size and stop.rounds must be at "
               "least 1"));
  }
  absl::StatusOr<UnverifiedPackageFile> package =
      ParsePackageFileUnverified(package_file);
  if (!package.ok()) return Annotate(package.status(), "model package");
  loaded.plan.metric_name = std::string(MetricName(package->package.metric));
  loaded.plan.higher_metric_is_better =
      package->package.metric == Metric::kAccuracy;
  loaded.context = std::make_unique<TaskContext>();
  TaskContext& context = *loaded.context;
  context.task = std::move(task);
  context.package_size_in_bytes = package_file.size();
  context.layout = package->package.layout;
  v1::SignedMessage message;
  if (!message.ParseFromString(signed_task)) {
    return absl::InvalidArgumentError("the signed task is unreadable");
  }
  context.task_sha256 = Sha256Of(message.payload());
  if (context.task.privacy().mechanism() > v1::Privacy::NONE) {
    if (options.noise_cohort == 0) {
      MLEDGE_RETURN_IF_ERROR(CheckCanBeKept(context.task));
    }
    MLEDGE_RETURN_IF_ERROR(LoadPrivacy(options, &loaded));
  }
  MLEDGE_ASSIGN_OR_RETURN(context.training_validator, MakeTrainingSum(context));
  context.evaluation_validator =
      MakeEvaluationSum(loaded.plan.evaluation_devices);
  if (loaded.plan.secure) {
    context.secure_options =
        ResolveSecureAggregation(context, loaded.plan, Sha256Of(package_file),
                                 options.registrar_sessions_per_day);
  }
  loaded.initial_parameters = std::move(package->package.initial_parameters);
  return loaded;
}

absl::Status ValidateUpdate(const TaskContext& context,
                            const AssignmentRecord& assignment,
                            const UpdateView& update) {
  if (update.context.assignment_id != assignment.id) {
    return absl::InvalidArgumentError(
        StrCat("the update was made for assignment ",
               update.context.assignment_id.value(), ", not for ",
               assignment.id.value()));
  }
  if (assignment.kind == AssignmentKind::kEvaluate) {
    return context.evaluation_validator->Validate(update);
  }
  if (update.context.layout_fingerprint != context.layout->fingerprint()) {
    return absl::InvalidArgumentError(
        StrCat("the update is of parameter layout ",
               update.context.layout_fingerprint.ToHex(), ", the task's is ",
               context.layout->fingerprint().ToHex(),
               ": the device must train the task's package"));
  }
  absl::Status status = context.training_validator->Validate(update);
  if (status.ok()) {
    return context.private_task == nullptr
               ? status
               : CheckPrivateUpdate(*context.private_task, update);
  }
  for (const UpdateView::Section& section : update.sections) {
    if (std::cmp_not_equal(section.values.size(),
                           context.layout->shared_size())) {
      continue;
    }
    if (const auto bad =
            DescribeBadValue(*context.layout, section,
                             context.training_validator->spec().value_bound);
        bad.has_value()) {
      return absl::InvalidArgumentError(*bad);
    }
  }
  return status;
}

uint64_t MaximumUpdateBytes(const TaskContext& context, AssignmentKind kind) {
  // Header, and the padding before the one section.
  constexpr uint64_t kHeader = kMaximumUpdateHeaderInBytes + 128;
  if (kind == AssignmentKind::kEvaluate) return kHeader;
  const int64_t values = context.private_task == nullptr
                             ? context.layout->shared_size()
                             : context.private_task->dimension;
  return kHeader + static_cast<uint64_t>(values) * 4;
}

v1::Assignment MakeAssignmentMessage(const TaskContext& context,
                                     const AssignmentRecord& record) {
  const auto version = context.versions.find(record.base_version);
  CHECK(version != context.versions.end())
      << "task " << record.task << " has no version " << record.base_version;
  const bool train = record.kind == AssignmentKind::kTrain;
  v1::Assignment message;
  message.set_assignment_id(record.id.value());
  message.set_task_id(record.task.value());
  message.set_round(record.round.value());
  message.set_kind(train ? v1::Assignment::TRAIN : v1::Assignment::EVALUATE);
  message.set_ordinal(record.ordinal.value());
  message.set_expires_at_unix_milliseconds(
      absl::ToUnixMillis(record.expires_at));
  message.set_protocol_version(1);
  const TaskRecord& task = context.run->record();
  SetBlob(message.mutable_signed_task(), task.signed_task,
          context.signed_task_size_in_bytes);
  SetBlob(message.mutable_package(), task.package,
          context.package_size_in_bytes);
  SetBlob(message.mutable_parameters(), version->second.parameters,
          version->second.parameters_size_in_bytes);
  CHECK(message.mutable_version_statement()->ParseFromString(
      version->second.signed_statement));
  if (train) {
    message.set_learning_rate(LearningRateOfRound(
        context.task.local_training(), record.base_version.value() + 1));
    const double first = context.private_task != nullptr
                             ? context.private_task->clip_norm
                             : context.task.local_training().clip_norm();
    message.set_clip_norm(
        version->second.clip_norm > 0 ? version->second.clip_norm : first);
  }
  if (context.run->plan().IsSecure(record.kind)) {
    const SecureSessions::Options& options = *context.secure_options;
    SetSecureAssignment(
        options, train ? options.training.codec : options.evaluation->codec,
        context.private_task.get(), message.mutable_secure());
  }
  message.set_round_seed(
      RoundSeed(context.task.seed(), record.task, record.round).ToBytes());
  return message;
}

}  // namespace mledge
