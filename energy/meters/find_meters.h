#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "energy/clock.h"
#include "energy/energy_options.h"
#include "energy/meters/meter.h"

namespace wattle {

/// The machine as meters see it; tests put their own in its place.
struct MeterEnvironment {
  std::string root = "/";  ///< of the file system: sys and proc lie below
  std::string nvml_library = "libnvidia-ml.so.1";
  std::optional<std::string> cuda_visible_devices;
  int pid = 0;
  std::function<double()> cpu_seconds;  ///< of the processes that are accounted for

  /// This process on this machine.
  static MeterEnvironment of_this_process();
};

struct FoundMeters {
  std::vector<std::unique_ptr<Meter>> meters;  ///< at least one
  std::vector<std::string> notes;              ///< what was picked, and why others are absent
};

/// The meters that options.meter asks for. `auto` takes the GPUs' counters (or power), and for the
/// processors their counters, else the model; `notes` says which and why.
/// Throws Error(kConfig) if a meter that was asked for by name is not there.
FoundMeters find_meters(const EnergyOptions& options, const MeterEnvironment& environment,
                        Clock& clock);

}  // namespace wattle
