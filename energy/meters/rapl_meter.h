#pragma once

#include <memory>
#include <string>
#include <vector>

#include "energy/meters/meter.h"

namespace wattle {

/// Meters of the running average power limit counters of Intel and AMD processors, through the
/// powercap tree (Documentation/power/powercap/powercap.rst): one for each package and each memory
/// ("dram") below it; where the tree has "psys", which contains the packages, that one alone.
/// Cores and graphics are parts of their package and are not counted again.
///
/// `root` is the file system's root, "/" but in tests.
/// Throws Error(kUnsupported) if there is no such tree, or if its counters may not be read; the
/// message then says who may and how to change it.
std::vector<std::unique_ptr<Meter>> rapl_meters(const std::string& root = "/");

}  // namespace wattle
