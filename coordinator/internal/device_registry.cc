#include "mledge/coordinator/internal/device_registry.h"

#include <algorithm>

namespace mledge {

void DeviceRegistry::Restore(DeviceRecord record) {
  Entry& entry = FindOrAdd(record.id);
  entry.role =
      record.role == "evaluator" ? Peer::Role::kEvaluator : Peer::Role::kDevice;
  entry.record = std::move(record);
}

DeviceRegistry::Entry& DeviceRegistry::FindOrAdd(const DeviceId& device) {
  std::unique_ptr<Entry>& entry = entries_[device];
  if (entry == nullptr) {
    entry = std::make_unique<Entry>();
    entry->record.id = device;
  }
  return *entry;
}

DeviceRegistry::Entry* DeviceRegistry::Find(const DeviceId& device) {
  const auto found = entries_.find(device);
  return found == entries_.end() ? nullptr : found->second.get();
}

void DeviceRegistry::Wait(Entry& entry, Parked parked, absl::Time parked_until,
                          absl::Time waits_until) {
  entry.waits = true;
  entry.parked = std::move(parked);
  entry.parked_until = parked_until;
  entry.waits_until = waits_until;
  SetTimer(entry);
}

DeviceRegistry::Parked DeviceRegistry::StopWaiting(Entry& entry) {
  entry.waits = false;
  Parked parked = std::exchange(entry.parked, nullptr);
  SetTimer(entry);
  return parked;
}

void DeviceRegistry::SetTimer(Entry& entry) {
  if (entry.timer != absl::InfiniteFuture()) {
    timers_.erase({entry.timer, entry.record.id});
  }
  entry.timer = !entry.waits              ? absl::InfiniteFuture()
                : entry.parked != nullptr ? entry.parked_until
                                          : entry.waits_until;
  if (entry.timer != absl::InfiniteFuture()) {
    timers_.emplace(entry.timer, entry.record.id);
  }
}

DeviceRegistry::Due DeviceRegistry::Tick(absl::Time now) {
  Due due;
  while (!timers_.empty() && timers_.begin()->first <= now) {
    Entry& entry = *entries_.at(timers_.begin()->second);
    if (entry.parked != nullptr) {
      due.hung_up.push_back(std::exchange(entry.parked, nullptr));
    } else {
      entry.waits = false;
      due.gone.push_back(entry.record.id);
    }
    SetTimer(entry);
  }
  return due;
}

absl::Time DeviceRegistry::NextTime() const {
  return timers_.empty() ? absl::InfiniteFuture() : timers_.begin()->first;
}

std::vector<DeviceRegistry::Parked> DeviceRegistry::TakeAllParked() {
  std::vector<Parked> all;
  for (auto& [id, entry] : entries_) {
    if (entry->parked == nullptr) continue;
    all.push_back(std::exchange(entry->parked, nullptr));
    SetTimer(*entry);
  }
  return all;
}

}  // namespace mledge
