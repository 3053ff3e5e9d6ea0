#include "mledge/coordinator/cohort_selection.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace mledge {
namespace {

// The first `count` of a random order; then by id again.
void DrawFrom(std::vector<const DeviceId*> from, int64_t count,
              TrainingRandom& random, std::vector<DeviceId>& drawn) {
  const size_t n = from.size();
  const size_t wanted = std::min<size_t>(n, count < 0 ? 0 : count);
  for (size_t i = 0; i < wanted; ++i) {
    std::swap(from[i], from[i + random.UniformBelow(n - i)]);
    drawn.push_back(*from[i]);
  }
}

}  // namespace

void CandidatePool::Add(absl::Time now, Candidate candidate,
                        absl::Time last_assigned) {
  Remove(candidate.device);
  if (candidate.earliest_step > step_) {
    const DeviceId device = candidate.device;
    by_earliest_step_.emplace(candidate.earliest_step, device);
    early_[device] = {std::move(candidate), last_assigned};
    return;
  }
  // A clock that was set back makes no rest longer.
  const absl::Time rest_ends = std::min(last_assigned, now) + minimum_interval_;
  if (rest_ends > now && minimum_interval_ > absl::ZeroDuration()) {
    rest_ends_.emplace(rest_ends, candidate.device);
    resting_[candidate.device] = {rest_ends, candidate.next_ordinal};
  } else {
    ready_[candidate.device] = candidate.next_ordinal;
  }
}

void CandidatePool::Remove(const DeviceId& device) {
  ready_.erase(device);
  if (const auto rests = resting_.find(device); rests != resting_.end()) {
    rest_ends_.erase({rests->second.first, device});
    resting_.erase(rests);
  }
  if (const auto early = early_.find(device); early != early_.end()) {
    by_earliest_step_.erase({early->second.candidate.earliest_step, device});
    early_.erase(early);
  }
}

void CandidatePool::SetStep(absl::Time now, int64_t step) {
  step_ = step;
  while (!by_earliest_step_.empty() &&
         by_earliest_step_.begin()->first <= step) {
    const DeviceId device = by_earliest_step_.begin()->second;
    Early early = std::move(early_.at(device));
    Add(now, std::move(early.candidate), early.last_assigned);
  }
}

void CandidatePool::Tick(absl::Time now) {
  while (!rest_ends_.empty() && rest_ends_.begin()->first <= now) {
    const DeviceId device = rest_ends_.begin()->second;
    ready_[device] = resting_.at(device).second;
    resting_.erase(device);
    rest_ends_.erase(rest_ends_.begin());
  }
}

absl::Time CandidatePool::NextTime() const {
  return rest_ends_.empty() ? absl::InfiniteFuture()
                            : rest_ends_.begin()->first;
}

bool CandidatePool::HasOtherThan(const std::set<DeviceId>& without) const {
  if (ready_.size() > without.size()) return true;
  for (const auto& [device, ordinal] : ready_) {
    if (!without.contains(device)) return true;
  }
  return false;
}

std::vector<CandidatePool::Candidate> CandidatePool::Draw(
    int64_t count, TrainingRandom random, const std::set<DeviceId>& avoid) {
  std::vector<const DeviceId*> fresh;
  std::vector<const DeviceId*> avoided;
  for (const auto& [device, ordinal] : ready_) {
    (avoid.contains(device) ? avoided : fresh).push_back(&device);
  }
  std::vector<DeviceId> drawn;
  DrawFrom(std::move(fresh), count, random, drawn);
  DrawFrom(std::move(avoided), count - static_cast<int64_t>(drawn.size()),
           random, drawn);
  std::sort(drawn.begin(), drawn.end());
  std::vector<Candidate> result;
  for (const DeviceId& device : drawn) {
    const auto found = ready_.find(device);
    result.push_back({device, found->second});
    ready_.erase(found);
  }
  return result;
}

std::vector<CandidatePool::Candidate> CandidatePool::DrawEach(
    double probability, SecretRandom& coins) {
  // Exact: a power of two away from `probability`, rounded down.
  const double threshold = std::ldexp(probability, 64);
  const bool everybody = probability >= 1;
  const auto below = everybody ? uint64_t{0} : static_cast<uint64_t>(threshold);
  std::vector<uint64_t> words(ready_.size());
  coins.Fill({reinterpret_cast<uint8_t*>(words.data()),
              words.size() * sizeof(uint64_t)});
  std::vector<Candidate> drawn;
  size_t next = 0;
  for (const auto& [device, ordinal] : ready_) {
    if (everybody || words[next] < below) drawn.push_back({device, ordinal});
    ++next;
  }
  for (const Candidate& candidate : drawn) ready_.erase(candidate.device);
  OPENSSL_cleanse(words.data(), words.size() * sizeof(uint64_t));
  return drawn;
}

std::vector<CandidatePool::Candidate> CandidatePool::DrawWithout(
    int64_t count, TrainingRandom random, const std::set<DeviceId>& without) {
  // Set aside, draw among the rest, put back.
  std::vector<Candidate> aside;
  for (const DeviceId& device : without) {
    const auto found = ready_.find(device);
    if (found == ready_.end()) continue;
    aside.push_back({device, found->second});
    ready_.erase(found);
  }
  std::vector<Candidate> result = Draw(count, random, {});
  for (const Candidate& candidate : aside) {
    ready_[candidate.device] = candidate.next_ordinal;
  }
  return result;
}

}  // namespace mledge
