#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace wattle {

/// How a figure in joules came to be. Every figure carries one; figures of different sources are
/// shown apart and never silently added up.
enum class Source {
  kMeasuredNvml,    ///< the GPU's own energy counter
  kMeasuredRapl,    ///< the processor's own energy counter
  kIntegratedNvml,  ///< the trapezoid under the GPU's power readings
  kReplayedTrace,   ///< a recorded power curve
  kEstimatedModel,  ///< idle and maximum watts and processor time
  kUnavailable,     ///< nothing is known
};
inline constexpr size_t kSourceCount = 6;

/// The label that metrics and reports carry: "measured:nvml", "estimated:model", ...
std::string_view label_of(Source source);

/// The source behind a label; throws Error(kFormat) on one that does not exist.
Source parse_source(std::string_view label);

/// Joules, kept apart by their source.
class JoulesBySource {
 public:
  double& operator[](Source source) { return joules_[static_cast<size_t>(source)]; }
  double operator[](Source source) const { return joules_[static_cast<size_t>(source)]; }
  JoulesBySource& operator+=(const JoulesBySource& other);
  double total() const;

  /// The labels of all sources with joules, joined by '+': "measured:nvml+estimated:model".
  /// "unavailable" if there are none: a report never shows a bare 0.
  std::string label() const;

 private:
  std::array<double, kSourceCount> joules_{};
};

}  // namespace wattle
