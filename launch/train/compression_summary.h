#pragma once

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "compression/report/compression_report.h"
#include "launch/train/run_session.h"

namespace wattle {

/// What is measured of a compressed model after training, for its report.
struct CompressionMeasures {
  std::optional<InferenceComparison> inference;
  std::map<std::string, double> loss_effects;
};

/// Nothing where nothing is compressed, and where joules are budgeted: these passes could spend
/// more than is left. `evaluator` may be null. Collective.
CompressionMeasures measure_compression(const RunConfig& config, Replica& replica,
                                        Evaluator* evaluator, RunAccounts& accounts,
                                        const CalibrationSet& calibration);

/// Adds them to the report, with what the exports hold; nothing without compression. One rank.
void add_compression_summary(const RunConfig& config, const Replica& replica,
                             const DataSource& data,
                             const std::vector<std::unique_ptr<Callback>>& callbacks,
                             const std::string& ledger, const CompressionMeasures& measures,
                             nlohmann::ordered_json& report);

}  // namespace wattle
