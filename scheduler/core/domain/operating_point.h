#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace wattle::scheduler {

/// A kind of device with its electrical facts, per device.
struct DeviceType {
  std::string name;  ///< as the agents report it: "Tesla V100-SXM2", "cpu-16"
  /// Drawn while nothing runs on it. Of a group of devices what its agent says; of the cluster's
  /// types the lowest of all that are installed: what one device draws, Device::idle_watts says.
  double idle_watts = 0;
  double min_limit_watts = 0;  ///< lowest power limit (or pacing) that can be set
  double max_limit_watts = 0;  ///< highest one; the draw of an uncapped job is at most this
  bool is_installed = true;    ///< of the cluster's types: whether there is any such device
  /// Whether all figures are the same; whether they are of one type, is_same_type() says.
  bool operator==(const DeviceType&) const = default;
};

/// A type is its name and its range of limits. What alike devices draw when idle is measured, and
/// differs by some watts from one to the next.
inline bool is_same_type(const DeviceType& a, const DeviceType& b) {
  return a.name == b.name && a.min_limit_watts == b.min_limit_watts &&
         a.max_limit_watts == b.max_limit_watts;
}

/// The limits that are considered for a type, lowest first, the highest always among them: about
/// 25 W apart (Zeus), five to nine of them. What a plan gives lies at one of them or in between.
std::vector<double> limit_levels(const DeviceType& type);

/// How a job can run: so many ranks, one on each device of a type, each device under a limit.
struct OperatingPoint {
  int type = 0;  ///< index into the cluster's device types
  int ranks = 0;
  double limit_watts = 0;  ///< per device
  bool operator==(const OperatingPoint&) const = default;
};

/// Units a second that a job could have. Clients and jobs say them: beyond these bounds they would
/// overflow in what is made of them.
inline constexpr double kLeastRate = 1e-9, kMostRate = 1e9;
inline bool is_plausible_rate(double units_per_second) {
  return units_per_second >= kLeastRate && units_per_second <= kMostRate;
}

/// How a figure came about.
enum class Basis {
  kPrior,     ///< nothing known but the device type
  kSimilar,   ///< from jobs of the same kind
  kFitted,    ///< a curve through fewer than four measured limits
  kMeasured,  ///< between measured limits
};

/// What a job does at an operating point.
struct Performance {
  double units_per_second = 0;  ///< progress of the whole job (optimizer steps)
  double watts = 0;             ///< drawn by all its devices together
  double uncertainty = 0;       ///< relative standard error of the throughput
  Basis basis = Basis::kPrior;
};

}  // namespace wattle::scheduler
