#include "mledge/coordinator/publisher.h"

#include <bit>
#include <cstring>
#include <string_view>
#include <utility>

#include "mledge/core/status_macros.h"

namespace mledge {
namespace {

// Parameters travel and lie on disk as little-endian float32.
static_assert(std::endian::native == std::endian::little,
              "blobs of parameters are written straight from memory");

std::string_view BytesOf(std::span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()),
          values.size() * sizeof(float)};
}

}  // namespace

ServerOptimizerOptions ResolveServerOptimizer(
    const v1::Aggregation& aggregation) {
  if (aggregation.has_adam()) {
    const v1::ServerAdam& adam = aggregation.adam();
    ServerAdamOptions options;
    options.learning_rate = adam.learning_rate();
    if (adam.has_beta1()) options.beta1 = adam.beta1();
    if (adam.has_beta2()) options.beta2 = adam.beta2();
    if (adam.has_tau()) options.tau = adam.tau();
    return options;
  }
  ServerSgdOptions options;
  if (aggregation.sgd().has_learning_rate()) {
    options.learning_rate = aggregation.sgd().learning_rate();
  }
  options.momentum = aggregation.sgd().momentum();
  return options;
}

absl::StatusOr<VersionRecord> StoreVersion(
    const Publisher::Dependencies& dependencies, absl::Time now,
    const TaskId& task, const Digest& package, RoundNumber round,
    VersionNumber version, const ParameterVector& parameters) {
  const std::string_view bytes = BytesOf(parameters.values());
  VersionRecord record;
  record.task = task;
  record.version = version;
  record.round = round;
  record.parameters_size_in_bytes = bytes.size();
  record.published_at = now;
  MLEDGE_ASSIGN_OR_RETURN(record.parameters,
                          dependencies.storage->PutBlob(bytes));
  v1::VersionStatement statement;
  statement.set_task_id(task.value());
  statement.set_version(version.value());
  statement.set_parameters_sha256(record.parameters.ToBytes());
  statement.set_package_sha256(package.ToBytes());
  statement.set_layout_fingerprint(
      parameters.layout()->fingerprint().ToBytes());
  absl::StatusOr<v1::SignedMessage> signed_statement =
      dependencies.sign_version(statement);
  if (!signed_statement.ok()) {
    // Whatever the signer says, the parameters are not at fault.
    return absl::UnavailableError(StrCat("signing version ", version.value(),
                                         " of task ", task.value(), ": ",
                                         signed_statement.status().message()));
  }
  record.signed_statement = signed_statement->SerializeAsString();
  return record;
}

absl::StatusOr<std::unique_ptr<Publisher>> Publisher::Create(
    Dependencies dependencies, const v1::Task& task,
    std::shared_ptr<const PrivateTask> private_task,
    std::shared_ptr<const ParameterLayout> layout, const TaskRecord& record,
    const VersionRecord& newest) {
  std::unique_ptr<Publisher> publisher(new Publisher());
  publisher->dependencies_ = std::move(dependencies);
  publisher->layout_ = layout;
  publisher->task_ = record.id;
  publisher->package_ = record.package;
  publisher->version_ = newest.version;
  publisher->applied_round_ = newest.round;
  MLEDGE_ASSIGN_OR_RETURN(
      std::string bytes,
      ReadVerifiedBlob(*publisher->dependencies_.storage, newest.parameters));
  publisher->parameters_ = ParameterVector(layout);
  const std::span<float> values = publisher->parameters_.values();
  if (bytes.size() != values.size_bytes()) {
    return absl::DataLossError(
        StrCat("parameters of version ", newest.version.value(), " of task ",
               record.id.value(), " are ", bytes.size(),
               " bytes, its layout has ", values.size_bytes()));
  }
  std::memcpy(values.data(), bytes.data(), bytes.size());

  const ServerOptimizerOptions options =
      ResolveServerOptimizer(task.aggregation());
  const auto* const sgd = std::get_if<ServerSgdOptions>(&options);
  publisher->optimizer_has_state_ = sgd == nullptr || sgd->momentum != 0;
  MLEDGE_ASSIGN_OR_RETURN(publisher->optimizer_,
                          ServerOptimizer::Create(options, layout));
  if (newest.optimizer_state.has_value()) {
    MLEDGE_ASSIGN_OR_RETURN(std::string state,
                            ReadVerifiedBlob(*publisher->dependencies_.storage,
                                             *newest.optimizer_state));
    MLEDGE_RETURN_IF_ERROR(publisher->optimizer_->Restore(state));
  }
  if (private_task != nullptr) {
    std::optional<std::string> state;
    if (newest.noise_state.has_value()) {
      MLEDGE_ASSIGN_OR_RETURN(
          state, ReadVerifiedBlob(*publisher->dependencies_.storage,
                                  *newest.noise_state));
    }
    publisher->clip_norm_ =
        newest.clip_norm > 0 ? newest.clip_norm : private_task->clip_norm;
    MLEDGE_ASSIGN_OR_RETURN(
        publisher->noise_,
        SumNoise::Create(task, std::move(private_task),
                         publisher->layout_->shared_size(),
                         publisher->dependencies_.noise_random, state));
  }
  return publisher;
}

absl::StatusOr<VersionRecord> Publisher::Publish(absl::Time now,
                                                 RoundNumber round,
                                                 const AggregationSum& sum) {
  MLEDGE_RETURN_IF_ERROR(broken_);
  if (applied_round_ != round) {
    if (absl::Status applied = Advance(round, sum); !applied.ok()) {
      broken_ = absl::FailedPreconditionError(applied.message());
      return broken_;
    }
    applied_round_ = round;
    version_ = version_.Next();
  }
  MLEDGE_ASSIGN_OR_RETURN(VersionRecord record,
                          StoreVersion(dependencies_, now, task_, package_,
                                       round, version_, parameters_));
  if (optimizer_has_state_) {
    MLEDGE_ASSIGN_OR_RETURN(
        record.optimizer_state,
        dependencies_.storage->PutBlob(optimizer_->Serialize()));
  }
  if (noise_ != nullptr) {
    record.clip_norm = clip_norm_;
    MLEDGE_ASSIGN_OR_RETURN(const std::optional<SecretBytes> state,
                            noise_->State());
    if (state.has_value()) {
      const std::span<const uint8_t> bytes = state->bytes(RevealSecret());
      MLEDGE_ASSIGN_OR_RETURN(
          record.noise_state,
          dependencies_.storage->PutBlob(
              {reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
    }
  }
  return record;
}

absl::Status Publisher::Advance(RoundNumber round, const AggregationSum& sum) {
  if (noise_ == nullptr) {
    return optimizer_->Apply(sum, &parameters_, dependencies_.pool);
  }
  MLEDGE_ASSIGN_OR_RETURN(const SumNoise::Noised noised,
                          noise_->Apply(sum, version_.value(), round,
                                        clip_norm_, dependencies_.pool));
  clip_norm_ = noised.next_clip_norm;
  return optimizer_->Apply(noised.sum, &parameters_, dependencies_.pool);
}

}  // namespace mledge
