#pragma once

#include <map>
#include <span>
#include <vector>

#include "scheduler/core/domain/node.h"

namespace wattle::scheduler {

/// Sums of watts are compared with this much of slack: below what the ledger counts, above what
/// adding them rounds.
inline constexpr double kRoundingWatts = 1e-6;

/// Keeps, for every device, the highest power limit that may be in force on it at this instant, and
/// their sum. This is the breaker's tier of a cap: as long as every command passes through here and
/// agents keep their side, the sum of the limits in force never exceeds the sum that is kept here.
///
/// The agents' side:
/// - commands carry a sequence number; an agent drops one that is not newer than the newest it has
///   applied to that device, and one for a run that it does not hold;
/// - a device without a run of ours draws at most its idle watts, for nothing is started on it;
/// - when its lease runs out, an agent lowers every device to its safe limit, and takes no command
///   before it has registered again.
///
/// So a raise counts from the moment it is issued, a lowering from the moment it, or a newer
/// command, is acknowledged; acknowledgements may come late, twice, in any order, or never.
class CapLedger {
 public:
  struct Command {
    Sequence sequence = 0;
    NodeId node = 0;
    std::vector<DeviceId> devices;
    double watts = 0;
  };

  /// As a device's watts are summed here: whole milliwatts, rounded up.
  static double counted(double watts);

  /// Adds the next device. `in_force_watts` is what its agent reports.
  DeviceId add(double in_force_watts, double safe_watts);

  /// Records a command to set `watts` on devices of one node and numbers it. A raise counts at
  /// once: whoever calls this has checked `raise_watts` against the headroom.
  Sequence issue(NodeId node, std::span<const DeviceId> devices, double watts);

  /// By how much the sum grows when `watts` is commanded on these devices.
  double raise_watts(std::span<const DeviceId> devices, double watts) const;

  /// The agent has applied this command or a newer one. False if it was known already.
  bool acknowledge(Sequence sequence);
  /// Commands are numbered from beyond it on.
  void skip_to(Sequence sequence) { last_ = std::max(last_, sequence); }

  /// The agent says, in order with its stream, that nothing runs on the device: commands for the
  /// run that was there are void.
  void park(DeviceId device, double idle_watts);

  /// A new registration of the agent: what it reports holds, commands of older ones are void.
  void restate(DeviceId device, double in_force_watts);

  /// The agent has registered with another limit for when it is cut off.
  void set_safe(DeviceId device, double safe_watts) { entries_[device].safe = safe_watts; }

  /// The lease of the device's agent has surely run out.
  void fall_to_safe(DeviceId device);

  /// The operator says the device is gone for good.
  void remove(DeviceId device);

  /// Sum over all devices of the highest limit that may be in force.
  double possible_watts() const { return static_cast<double>(total_milliwatts_) / 1000; }
  double possible_watts(DeviceId device) const;
  /// The limit of the newest command, or of what the agent has said since.
  double issued_watts(DeviceId device) const;
  double confirmed_watts(DeviceId device) const { return entries_[device].confirmed; }

  /// Commands not acknowledged yet, oldest first.
  const std::map<Sequence, Command>& outstanding() const { return outstanding_; }

  /// Its fields, for the journal.
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("entries", s.entries_), v("outstanding", s.outstanding_), v("last", s.last_);
    v("total_milliwatts", s.total_milliwatts_);
  }

 private:
  struct Entry {
    double confirmed = 0;
    double safe = 0;
    Sequence confirmed_sequence = 0;
    std::vector<std::pair<Sequence, double>> commanded;  ///< newer than the confirmed one
    int64_t counted_milliwatts = 0;
    template <class Self, class V>
    static void visit(Self& s, V&& v) {
      v("confirmed", s.confirmed), v("safe", s.safe);
      v("confirmed_sequence", s.confirmed_sequence), v("commanded", s.commanded);
      v("counted_milliwatts", s.counted_milliwatts);
    }
  };

  void recount(Entry& entry);
  void forget(DeviceId device);

  std::vector<Entry> entries_;
  std::map<Sequence, Command> outstanding_;
  Sequence last_ = 0;
  int64_t total_milliwatts_ = 0;  ///< whole milliwatts, rounded up: sums do not drift
};

}  // namespace wattle::scheduler
