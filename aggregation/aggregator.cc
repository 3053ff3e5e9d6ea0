#include "mledge/aggregation/aggregator.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "mledge/aggregation/fixed_point.h"
#include "mledge/aggregation/internal/fold_kernel.h"
#include "mledge/core/ids.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/core/update.h"

namespace mledge {
namespace {

// Values of one range; large enough to be worth a thread, small enough to
// spread a small model over two.
constexpr int64_t kFoldGrain = 1 << 16;

const std::vector<std::string>& FleetScalars() {
  static const auto& names = *new std::vector<std::string>{
      std::string(kExamplesScalar), std::string(kLossSumScalar),
      std::string(kMetricSumScalar)};
  return names;
}

absl::Status CheckDistinctIds(std::string_view what,
                              const std::vector<std::string>& names) {
  std::set<std::string_view> seen;
  for (const std::string& name : names) {
    MLEDGE_RETURN_IF_ERROR(ValidateId(what, name));
    if (!seen.insert(name).second) {
      return absl::InvalidArgumentError(
          StrCat(what, " \"", name, "\" appears twice"));
    }
  }
  return absl::OkStatus();
}

// Sums formed within the bounds never overflow; one from elsewhere that does
// wraps around like the fold instead of being undefined.
int64_t AddModulo(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) +
                              static_cast<uint64_t>(b));
}

const UpdateScalar* FindScalar(const UpdateView& update,
                               std::string_view name) {
  for (const UpdateScalar& scalar : update.scalars) {
    if (scalar.name == name) return &scalar;
  }
  return nullptr;
}

}  // namespace

AggregationSpec TrainingAggregationSpec(int64_t shared_size, double value_bound,
                                        int64_t weight_bound, bool uniform,
                                        int64_t maximum_updates) {
  return {.sections = {{std::string(kDeltaSection), shared_size}},
          .scalars = FleetScalars(),
          .value_bound = value_bound,
          .weight_bound = uniform ? 1 : weight_bound,
          .maximum_updates = maximum_updates};
}

AggregationSpec EvaluationAggregationSpec(int64_t weight_bound,
                                          int64_t maximum_updates) {
  return {.scalars = FleetScalars(),
          .value_bound = 1,
          .weight_bound = weight_bound,
          .maximum_updates = maximum_updates};
}

const AggregationSum::Section* AggregationSum::FindSection(
    std::string_view name) const {
  for (const Section& section : sections) {
    if (section.name == name) return &section;
  }
  return nullptr;
}

double AggregationSum::Scalar(std::string_view name) const {
  for (const auto& scalar : scalars) {
    if (scalar.name == name) {
      return std::ldexp(static_cast<double>(scalar.integer),
                        -kScalarFractionBits);
    }
  }
  return 0;
}

absl::Status Mean(const AggregationSum& sum, std::string_view section,
                  std::span<float> out, ThreadPool* pool) {
  const AggregationSum::Section* found = sum.FindSection(section);
  if (found == nullptr || found->integers.size() != out.size()) {
    return absl::InvalidArgumentError(StrCat(
        "the sum has no section \"", section, "\" of ", out.size(), " values"));
  }
  if (sum.weight_sum <= 0) {
    return absl::FailedPreconditionError("the sum holds no update");
  }
  const double divisor =
      std::ldexp(static_cast<double>(sum.weight_sum), sum.fraction_bits) /
      sum.unit;
  ParallelFor(pool, static_cast<int64_t>(out.size()), kFoldGrain,
              [&](int64_t begin, int64_t end) {
                for (int64_t i = begin; i < end; ++i) {
                  out[i] = static_cast<float>(
                      static_cast<double>(found->integers[i]) / divisor);
                }
              });
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Aggregator>> Aggregator::Create(
    AggregationSpec spec) {
  MLEDGE_ASSIGN_OR_RETURN(
      const int fraction_bits,
      FractionBits({.value_bound = spec.value_bound,
                    .weight_bound = spec.weight_bound,
                    .maximum_updates = spec.maximum_updates}));
  if (spec.maximum_updates > int64_t{1} << 31) {
    return absl::InvalidArgumentError(
        StrCat("at most ", spec.maximum_updates,
               " updates: more than 2147483648 in one sum"));
  }
  std::vector<std::string> names;
  for (const AggregationSpec::Section& section : spec.sections) {
    names.push_back(section.name);
    if (section.elements < 0) {
      return absl::InvalidArgumentError(StrCat(
          "section \"", section.name, "\" of ", section.elements, " values"));
    }
  }
  MLEDGE_RETURN_IF_ERROR(CheckDistinctIds("section", names));
  MLEDGE_RETURN_IF_ERROR(CheckDistinctIds("scalar", spec.scalars));
  return std::unique_ptr<Aggregator>(
      new Aggregator(std::move(spec), fraction_bits));
}

Aggregator::Aggregator(AggregationSpec spec, int fraction_bits)
    : spec_(std::move(spec)) {
  sum_.fraction_bits = fraction_bits;
  for (const AggregationSpec::Section& section : spec_.sections) {
    sum_.sections.push_back(
        {section.name, std::vector<int64_t>(section.elements)});
  }
  for (const std::string& name : spec_.scalars) {
    sum_.scalars.push_back({name, 0});
  }
}

absl::Status Aggregator::CheckShape(const UpdateView& update) const {
  if (update.weight < 1 || update.weight > spec_.weight_bound) {
    return absl::InvalidArgumentError(StrCat(
        "weight ", update.weight, " is outside 1 to ", spec_.weight_bound,
        " (aggregation.weight_bound; 1 with uniform weighting)"));
  }
  for (const AggregationSpec::Section& section : spec_.sections) {
    const UpdateView::Section* found = update.FindSection(section.name);
    if (found == nullptr) {
      return absl::InvalidArgumentError(
          StrCat("section \"", section.name, "\" is missing"));
    }
    if (found->values.size() != static_cast<size_t>(section.elements)) {
      return absl::InvalidArgumentError(
          StrCat("section \"", section.name, "\" has ", found->values.size(),
                 " values; the model's layout has ", section.elements));
    }
  }
  if (update.sections.size() != spec_.sections.size()) {
    return absl::InvalidArgumentError(StrCat("it has ", update.sections.size(),
                                             " sections; the task takes ",
                                             spec_.sections.size()));
  }
  const double bound = ScalarBound(spec_.maximum_updates);
  for (const std::string& name : spec_.scalars) {
    const UpdateScalar* scalar = FindScalar(update, name);
    if (scalar == nullptr) {
      return absl::InvalidArgumentError(
          StrCat("scalar \"", name, "\" is missing"));
    }
    if (!ScalarToFixedPoint(scalar->value, bound).has_value()) {
      return absl::InvalidArgumentError(
          StrCat("scalar \"", name, "\" is ", scalar->value,
                 ", not a number of magnitude at most ", bound));
    }
  }
  if (update.scalars.size() != spec_.scalars.size()) {
    return absl::InvalidArgumentError(StrCat("it has ", update.scalars.size(),
                                             " scalars; the task takes ",
                                             spec_.scalars.size()));
  }
  return absl::OkStatus();
}

absl::Status Aggregator::Validate(const UpdateView& update) const {
  MLEDGE_RETURN_IF_ERROR(CheckShape(update));
  for (const UpdateView::Section& section : update.sections) {
    const std::optional<size_t> outside =
        FindOutside(section.values, spec_.value_bound);
    if (!outside.has_value()) continue;
    const float value = section.values[*outside];
    return absl::InvalidArgumentError(StrCat(
        "value ", *outside, " of section \"", section.name, "\" is ", value,
        std::isfinite(value)
            ? StrCat(", outside aggregation.value_bound ", spec_.value_bound,
                     "; lower the learning rate, clip (local_training."
                     "clip_norm), or raise the bound")
            : std::string("; training on the device diverged: lower the "
                          "learning rate or clip "
                          "(local_training.clip_norm)")));
  }
  return absl::OkStatus();
}

absl::Status Aggregator::Fold(std::span<const UpdateView* const> updates,
                              ThreadPool* pool) {
  for (const UpdateView* update : updates) {
    MLEDGE_RETURN_IF_ERROR(CheckShape(*update));
  }
  if (static_cast<int64_t>(updates.size()) >
      spec_.maximum_updates - sum_.count) {
    return absl::FailedPreconditionError(StrCat(
        sum_.count, " updates and ", updates.size(), " more are over the ",
        spec_.maximum_updates, " that this sum was made for"));
  }
  const double scale = std::ldexp(1.0, sum_.fraction_bits);
  for (AggregationSum::Section& section : sum_.sections) {
    std::vector<const UpdateView::Section*> sources;
    for (const UpdateView* update : updates) {
      sources.push_back(update->FindSection(section.name));
    }
    ParallelFor(pool, static_cast<int64_t>(section.integers.size()), kFoldGrain,
                [&](int64_t begin, int64_t end) {
                  std::vector<aggregation_internal::WeightedValues> values;
                  for (size_t i = 0; i < updates.size(); ++i) {
                    values.push_back({sources[i]->values.data() + begin,
                                      updates[i]->weight});
                  }
                  aggregation_internal::FoldValues(
                      values, scale, section.integers.data() + begin,
                      static_cast<size_t>(end - begin));
                });
  }
  const double bound = ScalarBound(spec_.maximum_updates);
  for (const UpdateView* update : updates) {
    for (AggregationSum::ScalarSum& scalar : sum_.scalars) {
      scalar.integer +=
          *ScalarToFixedPoint(FindScalar(*update, scalar.name)->value, bound);
    }
    sum_.weight_sum += update->weight;
  }
  sum_.count += static_cast<int64_t>(updates.size());
  return absl::OkStatus();
}

absl::Status Aggregator::Merge(const AggregationSum& other) {
  const auto matches = [](const auto& mine, const auto& theirs) {
    return mine.name == theirs.name;
  };
  const auto sections_match = [](const AggregationSum::Section& mine,
                                 const AggregationSum::Section& theirs) {
    return mine.name == theirs.name &&
           mine.integers.size() == theirs.integers.size();
  };
  // Without sections the scale of values says nothing.
  if ((other.fraction_bits != sum_.fraction_bits && !sum_.sections.empty()) ||
      !std::ranges::equal(sum_.sections, other.sections, sections_match) ||
      !std::ranges::equal(sum_.scalars, other.scalars, matches)) {
    return absl::InvalidArgumentError(
        "the sums have other sections, scalars or scales and cannot be added");
  }
  if (other.count < 0 || other.count > spec_.maximum_updates - sum_.count) {
    return absl::FailedPreconditionError(
        StrCat(sum_.count, " updates and ", other.count, " more are over the ",
               spec_.maximum_updates, " that this sum was made for"));
  }
  for (size_t s = 0; s < sum_.sections.size(); ++s) {
    std::vector<int64_t>& mine = sum_.sections[s].integers;
    const std::vector<int64_t>& theirs = other.sections[s].integers;
    for (size_t i = 0; i < mine.size(); ++i) {
      mine[i] = AddModulo(mine[i], theirs[i]);
    }
  }
  for (size_t s = 0; s < sum_.scalars.size(); ++s) {
    sum_.scalars[s].integer =
        AddModulo(sum_.scalars[s].integer, other.scalars[s].integer);
  }
  sum_.weight_sum += other.weight_sum;
  sum_.count += other.count;
  return absl::OkStatus();
}

}  // namespace mledge
