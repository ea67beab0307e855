#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/loop/evaluator.h"
#include "trainer/loop/records/run_accounts.h"
#include "trainer/state/flat_parameters.h"

namespace wattle {

/// Joules of inference for one token or sample, measured one side right after the other.
struct JoulesPair {
  double in_float = 0;
  double compressed = 0;
};

/// What is known of inference energy before and after. Pairs alternate in which side comes first,
/// so that what drifts (heat, other load) falls on both.
struct InferenceEnergy {
  std::vector<JoulesPair> pairs;  ///< empty: not measured
  int64_t units = 0;              ///< tokens or samples of one side of a pair
  std::string source;             ///< the meters' label
};

/// The middle of some measurements, and their ends. Not of none.
struct Spread {
  double median = 0;
  double least = 0;
  double most = 0;
};
Spread spread_of(std::vector<double> values);

enum class EnergyVerdict { kUnknown, kMore, kLess, kNoDifference };

/// More or less where every pair says so; else no difference was measured. Of pairs between which
/// there is none, all n agree by chance once in 2^(n-1). kUnknown below 6 pairs.
EnergyVerdict verdict_of(const std::vector<JoulesPair>& pairs);

struct EnergyMeasurement {
  Model& model;
  FlatParameters& parameters;
  Evaluator& evaluator;
  FiguresExchange& exchange;
  RunAccounts& accounts;
};

/// Measures 7 pairs in about `seconds`, of which `pass_seconds` (this rank's; rank 0's counts) is
/// what one evaluation takes. A side is as many whole evaluations as fit, or else some batches of
/// one, at least one batch a rank. Counts as inference in the run's books. Nothing where no joules
/// are known, or `seconds` is 0. Collective.
InferenceEnergy measure_energy(const EnergyMeasurement& measurement, double seconds,
                               double pass_seconds);

}  // namespace wattle
