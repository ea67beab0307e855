#include "compression/report/inference_energy.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "compression/report/in_float.h"

namespace wattle {
namespace {

constexpr int kPairs = 7;
constexpr size_t kFewestPairs = 6;

/// What is evaluated at one go.
struct Side {
  int64_t passes = 0;  ///< whole evaluations
  int64_t rounds = 0;  ///< if there are none: batches of each rank
};

Side side_of(double seconds, double pass_seconds, int64_t rounds) {
  const double passes = seconds / std::max(pass_seconds, 1e-9);
  if (passes >= 1) return {std::llround(std::min(passes, 1e6)), 0};
  const double wanted = std::ceil(passes * static_cast<double>(rounds));
  return {0, std::max<int64_t>(1, static_cast<int64_t>(wanted))};
}

class Measuring {
 public:
  Measuring(const EnergyMeasurement& parts, const Side& side) : parts_(parts), side_(side) {}

  int64_t units() const {
    const Evaluator& evaluator = parts_.evaluator;
    const int64_t samples =
        side_.passes > 0 ? side_.passes * evaluator.samples() : evaluator.samples_in(side_.rounds);
    return samples * evaluator.units_a_sample();
  }

  JoulesPair pair(bool float_first) {
    JoulesPair found;
    if (!float_first) found.compressed = joules();
    in_float(parts_.model, parts_.parameters, [&] { found.in_float = joules(); });
    if (float_first) found.compressed = joules();
    return found;
  }

 private:
  /// Of one unit, on all ranks.
  double joules() {
    parts_.accounts.settle();
    const auto always = [] { return true; };  // nothing else is booked meanwhile
    for (int64_t i = 0; i < side_.passes; ++i) parts_.evaluator.run(always);
    if (side_.passes == 0) {
      int64_t left = side_.rounds;
      parts_.evaluator.run([&left] { return --left > 0; });
    }
    return parts_.accounts.settle() / static_cast<double>(units());
  }

  const EnergyMeasurement& parts_;
  Side side_;
};

}  // namespace

Spread spread_of(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

EnergyVerdict verdict_of(const std::vector<JoulesPair>& pairs) {
  if (pairs.size() < kFewestPairs) return EnergyVerdict::kUnknown;
  if (std::ranges::all_of(pairs, [](const auto& p) { return p.compressed > p.in_float; })) {
    return EnergyVerdict::kMore;
  }
  if (std::ranges::all_of(pairs, [](const auto& p) { return p.compressed < p.in_float; })) {
    return EnergyVerdict::kLess;
  }
  return EnergyVerdict::kNoDifference;
}

InferenceEnergy measure_energy(const EnergyMeasurement& measurement, double seconds,
                               double pass_seconds) {
  InferenceEnergy energy;
  energy.source = measurement.accounts.source();
  const std::array<double, 2> mine = {seconds, pass_seconds};
  const std::vector<double> first = measurement.exchange.gather(mine).front();
  if (first[0] <= 0 || !measurement.accounts.run_joules()) return energy;
  Measuring measuring(measurement,
                      side_of(first[0] / (2 * kPairs), first[1], measurement.evaluator.rounds()));
  energy.units = measuring.units();
  for (int i = 0; i < kPairs; ++i) energy.pairs.push_back(measuring.pair(i % 2 == 0));
  return energy;
}

}  // namespace wattle
