#pragma once

#include <memory>

#include "energy/clock.h"
#include "energy/meters/meter.h"
#include "energy/meters/nvml/nvml.h"

namespace wattle {

/// A meter of one GPU: its energy counter where that counts, else its power readings. A counter
/// that is 0 or does not move within half a second (some virtual GPUs) is taken for absent.
/// Throws Error(kUnsupported) if the GPU tells neither energy nor power.
std::unique_ptr<Meter> nvml_meter(std::shared_ptr<const Nvml> nvml, const NvmlDevice& device,
                                  Clock& clock);

}  // namespace wattle
