#include "scheduler/core/power/cap_ledger.h"

#include <algorithm>
#include <cmath>

namespace wattle::scheduler {
namespace {

int64_t milliwatts(double watts) { return static_cast<int64_t>(std::ceil(watts * 1000 - 1e-6)); }

double highest(double confirmed, const std::vector<std::pair<Sequence, double>>& commanded) {
  double watts = confirmed;
  for (const auto& [sequence, value] : commanded) watts = std::max(watts, value);
  return watts;
}

}  // namespace

double CapLedger::counted(double watts) { return static_cast<double>(milliwatts(watts)) / 1000; }

DeviceId CapLedger::add(double in_force_watts, double safe_watts) {
  Entry& entry = entries_.emplace_back();
  entry.confirmed = in_force_watts;
  entry.safe = safe_watts;
  recount(entry);
  return static_cast<DeviceId>(entries_.size()) - 1;
}

void CapLedger::recount(Entry& entry) {
  const int64_t now = milliwatts(highest(entry.confirmed, entry.commanded));
  total_milliwatts_ += now - entry.counted_milliwatts;
  entry.counted_milliwatts = now;
}

double CapLedger::possible_watts(DeviceId device) const {
  const Entry& entry = entries_[device];
  return highest(entry.confirmed, entry.commanded);
}

double CapLedger::issued_watts(DeviceId device) const {
  const Entry& entry = entries_[device];
  return entry.commanded.empty() ? entry.confirmed : entry.commanded.back().second;
}

Sequence CapLedger::issue(NodeId node, std::span<const DeviceId> devices, double watts) {
  const Sequence sequence = ++last_;
  for (DeviceId device : devices) {
    entries_[device].commanded.emplace_back(sequence, watts);
    recount(entries_[device]);
  }
  outstanding_[sequence] = {sequence, node, {devices.begin(), devices.end()}, watts};
  return sequence;
}

double CapLedger::raise_watts(std::span<const DeviceId> devices, double watts) const {
  int64_t raise = 0;
  for (DeviceId device : devices) {
    raise += std::max<int64_t>(0, milliwatts(watts) - entries_[device].counted_milliwatts);
  }
  return static_cast<double>(raise) / 1000;
}

bool CapLedger::acknowledge(Sequence sequence) {
  auto found = outstanding_.find(sequence);
  if (found == outstanding_.end()) return false;
  for (DeviceId device : found->second.devices) {
    Entry& entry = entries_[device];
    if (sequence <= entry.confirmed_sequence) continue;
    entry.confirmed = found->second.watts;
    entry.confirmed_sequence = sequence;
    std::erase_if(entry.commanded, [&](const auto& c) { return c.first <= sequence; });
    recount(entry);
  }
  outstanding_.erase(found);
  return true;
}

void CapLedger::forget(DeviceId device) {
  Entry& entry = entries_[device];
  for (const auto& [sequence, watts] : entry.commanded) {
    auto command = outstanding_.find(sequence);
    if (command == outstanding_.end()) continue;
    std::erase(command->second.devices, device);
    if (command->second.devices.empty()) outstanding_.erase(command);
  }
  entry.commanded.clear();
  entry.confirmed_sequence = last_;
}

void CapLedger::park(DeviceId device, double idle_watts) { restate(device, idle_watts); }

void CapLedger::restate(DeviceId device, double in_force_watts) {
  forget(device);
  entries_[device].confirmed = in_force_watts;
  recount(entries_[device]);
}

void CapLedger::fall_to_safe(DeviceId device) {
  const double watts = possible_watts(device);
  restate(device, std::min(watts, entries_[device].safe));
}

void CapLedger::remove(DeviceId device) { restate(device, 0); }

}  // namespace wattle::scheduler
