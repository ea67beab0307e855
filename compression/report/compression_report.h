#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "compression/deployment.h"
#include "compression/report/baseline.h"
#include "compression/report/inference.h"

namespace wattle {

/// What a run's report says of its compression is made of.
struct CompressionFacts {
  const Model& model;
  const Deployment& deployment;
  std::string ledger_hash;
  std::vector<std::string> exported;  ///< files and folders
  std::vector<const BaselineCallback*> baselines;
  std::vector<const QuantizeCallback*> quantizers;
  std::optional<InferenceComparison> inference;
  std::map<std::string, double> loss_effects;  ///< by tensor; empty: not measured
  std::string unit;                            ///< "token" or "sample"
  int64_t units = 0;                           ///< that an evaluation computes
};

/// Adds to a report (common/report) the key "compression", and cards and tables that show it:
/// of each quantised tensor its format, bits, mean scale, clipped share, signal-to-noise ratio and
/// bytes before and after, and what rounding it adds to the loss; what training on rounded weights
/// gained over rounding alone; joules of inference before and after, and a warning where they grew;
/// XXH3-128 of each exported file.
void add_compression(const CompressionFacts& facts, nlohmann::ordered_json& report);

}  // namespace wattle
