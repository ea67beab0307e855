#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "energy/clock.h"
#include "energy/energy_options.h"
#include "energy/meters/meter.h"

namespace wattle::agent {

/// What the node's meters read at one moment.
struct Readings {
  double at = 0;                            ///< boot_seconds()
  std::map<std::string, double> by_device;  ///< those that answered
};

/// Whether a meter of this name measures one GPU alone.
bool is_gpu_meter(const std::string& name);
/// The meter of one GPU.
std::string gpu_meter(const std::string& uuid);

/// The node's meters. A node without any (its processors have no counters) has no readings, and
/// what runs use there is modelled from processor time. Not thread-safe.
class NodeMeter {
 public:
  /// Throws like find_meters().
  NodeMeter(const EnergyOptions& options, Clock& clock);

  Readings read();
  const std::map<std::string, MeterInfo>& devices() const { return infos_; }
  /// The label of all sources in use, for the registration.
  std::string label() const;
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  std::vector<std::unique_ptr<Meter>> meters_;
  std::map<std::string, MeterInfo> infos_;
  std::vector<std::string> notes_;
};

}  // namespace wattle::agent
