#include "mledge/privacy/accounting/event_codec.h"

#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

absl::Status Newer(std::string_view what) {
  return absl::FailedPreconditionError(
      StrCat("privacy event: ", what,
             "; a newer version wrote it: update this program"));
}

v1::NoiseOrigin EncodeOrigin(NoiseOrigin origin) {
  return origin == NoiseOrigin::kDevice ? v1::NOISE_ORIGIN_DEVICE
                                        : v1::NOISE_ORIGIN_COORDINATOR;
}

absl::StatusOr<NoiseOrigin> DecodeOrigin(v1::NoiseOrigin origin) {
  switch (origin) {
    case v1::NOISE_ORIGIN_COORDINATOR:
      return NoiseOrigin::kCoordinator;
    case v1::NOISE_ORIGIN_DEVICE:
      return NoiseOrigin::kDevice;
    default:
      return Newer(StrCat("unknown origin of noise ", int{origin}));
  }
}

void Encode(const NonPrivateEvent&, v1::PrivacyEvent* message) {
  message->mutable_non_private();
}
void Encode(const GaussianEvent& event, v1::PrivacyEvent* message) {
  v1::GaussianEvent* out = message->mutable_gaussian();
  out->set_noise_multiplier(event.noise_multiplier);
  out->set_origin(EncodeOrigin(event.origin));
}
void Encode(const DiscreteGaussianEvent& event, v1::PrivacyEvent* message) {
  v1::DiscreteGaussianEvent* out = message->mutable_discrete_gaussian();
  out->set_sigma(event.sigma);
  out->set_l2_sensitivity(event.l2_sensitivity);
  out->set_l1_sensitivity(event.l1_sensitivity);
  out->set_dimension(event.dimension);
  out->set_origin(EncodeOrigin(event.origin));
}
void Encode(const LaplaceEvent& event, v1::PrivacyEvent* message) {
  v1::LaplaceEvent* out = message->mutable_laplace();
  out->set_noise_multiplier(event.noise_multiplier);
  out->set_origin(EncodeOrigin(event.origin));
}
void Encode(const RandomizedResponseEvent& event, v1::PrivacyEvent* message) {
  v1::RandomizedResponseEvent* out = message->mutable_randomized_response();
  out->set_epsilon(event.epsilon);
  out->set_categories(event.categories);
}
void Encode(const PoissonSampledGaussianEvent& event,
            v1::PrivacyEvent* message) {
  v1::PoissonSampledGaussianEvent* out =
      message->mutable_poisson_sampled_gaussian();
  out->set_sampling_probability(event.sampling_probability);
  out->set_noise_multiplier(event.noise_multiplier);
}
void Encode(const SampledWithoutReplacementGaussianEvent& event,
            v1::PrivacyEvent* message) {
  v1::SampledWithoutReplacementGaussianEvent* out =
      message->mutable_sampled_without_replacement();
  out->set_population(event.population);
  out->set_cohort(event.cohort);
  out->set_noise_multiplier(event.noise_multiplier);
}
void Encode(const ZcdpEvent& event, v1::PrivacyEvent* message) {
  v1::ZcdpEvent* out = message->mutable_zcdp();
  out->set_rho(event.rho);
  out->set_adjacency(EncodeAdjacency(event.adjacency));
  out->set_origin(EncodeOrigin(event.origin));
}
void Encode(const MatrixMechanismEvent& event, v1::PrivacyEvent* message) {
  v1::MatrixMechanismEvent* out = message->mutable_matrix_mechanism();
  out->set_noise_multiplier(event.noise_multiplier);
  out->set_sensitivity(event.sensitivity);
  out->set_rounds(event.rounds);
  out->set_participations(event.participations);
  out->set_separation(event.separation);
}
void Encode(const DistributedDiscreteGaussianEvent& event,
            v1::PrivacyEvent* message) {
  v1::DistributedDiscreteGaussianEvent* out =
      message->mutable_distributed_discrete_gaussian();
  out->set_local_sigma(event.local_sigma);
  out->set_honest_clients(event.honest_clients);
  out->set_dimension(event.dimension);
  out->set_l2_sensitivity(event.l2_sensitivity);
  out->set_l1_sensitivity(event.l1_sensitivity);
}
void Encode(const SkellamEvent& event, v1::PrivacyEvent* message) {
  v1::SkellamEvent* out = message->mutable_skellam();
  out->set_total_variance(event.total_variance);
  out->set_l2_sensitivity(event.l2_sensitivity);
  out->set_l1_sensitivity(event.l1_sensitivity);
}
void Encode(const PrivacyEvent& event, v1::PrivacyEvent* message);
void Encode(const ComposedEvent& event, v1::PrivacyEvent* message) {
  v1::ComposedEvent* out = message->mutable_composed();
  out->set_count(event.count);
  for (const PrivacyEvent& part : event.events) {
    Encode(part, out->add_events());
  }
}
void Encode(const PrivacyEvent& event, v1::PrivacyEvent* message) {
  std::visit([&](const auto& kind) { Encode(kind, message); }, event.kind);
}

template <typename Message>
absl::Status CheckKnown(const Message& message) {
  if (message.GetReflection()->GetUnknownFields(message).empty()) {
    return absl::OkStatus();
  }
  return Newer(StrCat("unknown field in ", message.GetDescriptor()->name()));
}

absl::StatusOr<PrivacyEvent> Decode(const v1::PrivacyEvent& message, int depth);

absl::StatusOr<PrivacyEvent> Decode(const v1::NonPrivateEvent& message) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(message));
  return PrivacyEvent{NonPrivateEvent{}};
}
absl::StatusOr<PrivacyEvent> Decode(const v1::GaussianEvent& message) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(message));
  GaussianEvent event{.noise_multiplier = message.noise_multiplier()};
  MLEDGE_ASSIGN_OR_RETURN(event.origin, DecodeOrigin(message.origin()));
  return PrivacyEvent{event};
}
absl::StatusOr<PrivacyEvent> Decode(const v1::DiscreteGaussianEvent& message) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(message));
  DiscreteGaussianEvent event{.sigma = message.sigma(),
                              .l2_sensitivity = message.l2_sensitivity(),
                              .l1_sensitivity = message.l1_sensitivity(),
                              .dimension = message.dimension()};
  MLEDGE_ASSIGN_OR_RETURN(event.origin, DecodeOrigin(message.origin()));
  return PrivacyEvent{event};
}
absl::StatusOr<PrivacyEvent> Decode(const v1::LaplaceEvent& message) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(message));
  LaplaceEvent event{.noise_multiplier = message.noise_multiplier()};
  MLEDGE_ASSIGN_OR_RETURN(event.origin, DecodeOrigin(message.origin()));
  return PrivacyEvent{event};
}
absl::StatusOr<PrivacyEvent> Decode(
    const v1::RandomizedResponseEvent& message) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(message));
  return PrivacyEvent{RandomizedResponseEvent{
      .epsilon = message.epsilon(), .categories = message.categories()}};
}
absl::StatusOr<PrivacyEvent> Decode(
    const v1::PoissonSampledGaussianEvent& message) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(message));
  return PrivacyEvent{PoissonSampledGaussianEvent{
      .sampling_probability = message.sampling_probability(),
      .noise_multiplier = message.noise_multiplier()}};
}
absl::StatusOr<PrivacyEvent> Decode(
    const v1::SampledWithoutReplacementGaussianEvent& message) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(message));
  return PrivacyEvent{SampledWithoutReplacementGaussianEvent{
      .population = message.population(),
      .cohort = message.cohort(),
      .noise_multiplier = message.noise_multiplier()}};
}
absl::StatusOr<PrivacyEvent> Decode(const v1::ZcdpEvent& message) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(message));
  ZcdpEvent event{.rho = message.rho()};
  MLEDGE_ASSIGN_OR_RETURN(event.adjacency,
                          DecodeAdjacency(message.adjacency()));
  MLEDGE_ASSIGN_OR_RETURN(event.origin, DecodeOrigin(message.origin()));
  return PrivacyEvent{event};
}
absl::StatusOr<PrivacyEvent> Decode(const v1::MatrixMechanismEvent& message) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(message));
  return PrivacyEvent{
      MatrixMechanismEvent{.noise_multiplier = message.noise_multiplier(),
                           .sensitivity = message.sensitivity(),
                           .rounds = message.rounds(),
                           .participations = message.participations(),
                           .separation = message.separation()}};
}
absl::StatusOr<PrivacyEvent> Decode(
    const v1::DistributedDiscreteGaussianEvent& message) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(message));
  return PrivacyEvent{DistributedDiscreteGaussianEvent{
      .local_sigma = message.local_sigma(),
      .honest_clients = message.honest_clients(),
      .dimension = message.dimension(),
      .l2_sensitivity = message.l2_sensitivity(),
      .l1_sensitivity = message.l1_sensitivity()}};
}
absl::StatusOr<PrivacyEvent> Decode(const v1::SkellamEvent& message) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(message));
  return PrivacyEvent{SkellamEvent{.total_variance = message.total_variance(),
                                   .l2_sensitivity = message.l2_sensitivity(),
                                   .l1_sensitivity = message.l1_sensitivity()}};
}
absl::StatusOr<PrivacyEvent> Decode(const v1::ComposedEvent& message,
                                    int depth) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(message));
  ComposedEvent event{.count = message.count()};
  for (const v1::PrivacyEvent& part : message.events()) {
    MLEDGE_ASSIGN_OR_RETURN(PrivacyEvent decoded, Decode(part, depth + 1));
    event.events.push_back(std::move(decoded));
  }
  return PrivacyEvent{std::move(event)};
}

absl::StatusOr<PrivacyEvent> Decode(const v1::PrivacyEvent& message,
                                    int depth) {
  // Before `ValidateEvent` does: a hostile message must not exhaust the stack.
  if (depth > kDeepestEventNesting) {
    return absl::InvalidArgumentError(
        StrCat("privacy event: compositions nested deeper than ",
               kDeepestEventNesting));
  }
  MLEDGE_RETURN_IF_ERROR(CheckKnown(message));
  switch (message.kind_case()) {
    case v1::PrivacyEvent::kNonPrivate:
      return Decode(message.non_private());
    case v1::PrivacyEvent::kGaussian:
      return Decode(message.gaussian());
    case v1::PrivacyEvent::kDiscreteGaussian:
      return Decode(message.discrete_gaussian());
    case v1::PrivacyEvent::kLaplace:
      return Decode(message.laplace());
    case v1::PrivacyEvent::kRandomizedResponse:
      return Decode(message.randomized_response());
    case v1::PrivacyEvent::kPoissonSampledGaussian:
      return Decode(message.poisson_sampled_gaussian());
    case v1::PrivacyEvent::kSampledWithoutReplacement:
      return Decode(message.sampled_without_replacement());
    case v1::PrivacyEvent::kZcdp:
      return Decode(message.zcdp());
    case v1::PrivacyEvent::kMatrixMechanism:
      return Decode(message.matrix_mechanism());
    case v1::PrivacyEvent::kDistributedDiscreteGaussian:
      return Decode(message.distributed_discrete_gaussian());
    case v1::PrivacyEvent::kSkellam:
      return Decode(message.skellam());
    case v1::PrivacyEvent::kComposed:
      return Decode(message.composed(), depth);
    case v1::PrivacyEvent::KIND_NOT_SET:
      break;
  }
  return Newer("no known kind is set");
}

}  // namespace

absl::StatusOr<v1::PrivacyEvent> EncodeEvent(const PrivacyEvent& event) {
  MLEDGE_RETURN_IF_ERROR(ValidateEvent(event));
  v1::PrivacyEvent message;
  Encode(event, &message);
  return message;
}

absl::StatusOr<PrivacyEvent> DecodeEvent(const v1::PrivacyEvent& message) {
  MLEDGE_ASSIGN_OR_RETURN(PrivacyEvent event, Decode(message, 0));
  MLEDGE_RETURN_IF_ERROR(ValidateEvent(event));
  return event;
}

v1::Adjacency EncodeAdjacency(Adjacency adjacency) {
  switch (adjacency) {
    case Adjacency::kAddOrRemoveOne:
      return v1::ADJACENCY_ADD_OR_REMOVE_ONE;
    case Adjacency::kReplaceOne:
      return v1::ADJACENCY_REPLACE_ONE;
    case Adjacency::kZeroOut:
      return v1::ADJACENCY_ZERO_OUT;
  }
  return v1::ADJACENCY_UNSPECIFIED;
}

v1::Observer EncodeObserver(Observer observer) {
  switch (observer) {
    case Observer::kModelRecipients:
      return v1::OBSERVER_MODEL_RECIPIENTS;
    case Observer::kCoordinator:
      return v1::OBSERVER_COORDINATOR;
  }
  return v1::OBSERVER_UNSPECIFIED;
}

absl::StatusOr<Adjacency> DecodeAdjacency(v1::Adjacency adjacency) {
  switch (adjacency) {
    case v1::ADJACENCY_ADD_OR_REMOVE_ONE:
      return Adjacency::kAddOrRemoveOne;
    case v1::ADJACENCY_REPLACE_ONE:
      return Adjacency::kReplaceOne;
    case v1::ADJACENCY_ZERO_OUT:
      return Adjacency::kZeroOut;
    default:
      return Newer(StrCat("unknown adjacency ", int{adjacency}));
  }
}

absl::StatusOr<Observer> DecodeObserver(v1::Observer observer) {
  switch (observer) {
    case v1::OBSERVER_MODEL_RECIPIENTS:
      return Observer::kModelRecipients;
    case v1::OBSERVER_COORDINATOR:
      return Observer::kCoordinator;
    default:
      return Newer(StrCat("unknown observer ", int{observer}));
  }
}

}  // namespace mledge
