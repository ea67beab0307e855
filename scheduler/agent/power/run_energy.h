#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "energy/accounting/integrator.h"
#include "scheduler/agent/power/node_device.h"
#include "scheduler/agent/power/node_meter.h"

namespace wattle::agent {

/// What is kept on disk of a run's energy: enough to go on after the agent was away without losing
/// or counting twice a single joule that the hardware or the kernel has counted meanwhile.
struct EnergyRecord {
  double at = 0;                           ///< boot_seconds() up to which everything is booked
  double cpu_seconds = 0;                  ///< of the run's processes up to then
  std::map<std::string, double> joules;    ///< by source label
  std::map<std::string, double> readings;  ///< of the run's meters then
  double total() const;
};

/// The energy of a run's share of this node:
/// - its GPUs by their own meters;
/// - its processors, where the run has all of the node's, by the node's meter;
/// - else by the model: idle watts of its devices × time, and for each second of processor time
///   what the device's range of watts makes of it. It is labelled "estimated:model", also where a
///   part of a measured package is meant, for nobody can measure a part.
class RunEnergy {
 public:
  /// `devices`: the run's. `has_whole_node`: no other run shares the node's processors. The first
  /// time, `record` is empty; then what record() gave.
  RunEnergy(const std::map<std::string, MeterInfo>& meters, std::vector<NodeDevice> devices,
            bool has_whole_node, EnergyRecord record);

  /// Books everything up to these readings; `cpu_seconds`: of all the run's processes so far.
  /// Time in which the agent was away, and of which meters can't tell, counts with `most_watts`.
  void book(const Readings& readings, double cpu_seconds, double most_watts);
  /// Books the rest of a run that ended at `ended` (boot_seconds()). Where that is long ago, others
  /// may have used what its meters have counted since: no more of it counts than `most_watts` for
  /// the run's own time, as an estimate. So much, and no less, counts where its meters can't tell,
  /// and is what the model makes of a run whose processor time nobody has counted.
  void book_end(const Readings& readings, std::optional<double> cpu_seconds, double ended,
                double most_watts);
  /// Nothing of it draws any more.
  void rest() { watts_ = 0; }

  const EnergyRecord& record() const { return record_; }
  double joules() const { return record_.total(); }
  /// Watts over the latest interval that was booked.
  double watts() const { return watts_; }

 private:
  bool is_modelled() const;
  bool book_meters(const Readings& readings);
  void book_model(double seconds, double cpu_seconds);
  bool book_meter(const std::string& device, Integrator& integrator, const Readings& readings);

  std::vector<NodeDevice> devices_;
  std::map<std::string, Integrator> integrators_;
  bool has_host_meter_ = false;
  EnergyRecord record_;
  double watts_ = 0;
};

}  // namespace wattle::agent
