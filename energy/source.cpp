#include "energy/source.h"

#include <fmt/format.h>

#include <numeric>

#include "common/error.h"

namespace wattle {
namespace {

constexpr std::array<std::string_view, kSourceCount> kLabels = {"measured:nvml",   "measured:rapl",
                                                                "integrated:nvml", "replayed:trace",
                                                                "estimated:model", "unavailable"};

}  // namespace

std::string_view label_of(Source source) { return kLabels[static_cast<size_t>(source)]; }

Source parse_source(std::string_view label) {
  for (size_t i = 0; i < kLabels.size(); ++i) {
    if (kLabels[i] == label) return static_cast<Source>(i);
  }
  throw Error(ErrorCode::kFormat, fmt::format("energy: expected one of the sources {}, got '{}'",
                                              fmt::join(kLabels, ", "), label));
}

JoulesBySource& JoulesBySource::operator+=(const JoulesBySource& other) {
  for (size_t i = 0; i < kSourceCount; ++i) joules_[i] += other.joules_[i];
  return *this;
}

double JoulesBySource::total() const {
  return std::accumulate(joules_.begin(), joules_.end(), 0.0);
}

std::string JoulesBySource::label() const {
  std::string labels;
  for (size_t i = 0; i < kSourceCount; ++i) {
    if (joules_[i] <= 0) continue;
    if (!labels.empty()) labels += '+';
    labels += kLabels[i];
  }
  return labels.empty() ? std::string(label_of(Source::kUnavailable)) : labels;
}

}  // namespace wattle
