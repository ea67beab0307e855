#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "compression/report/compression_report.h"
#include "launch/train/exports.h"
#include "launch/train/run_session.h"
#include "trainer/loop/agreeing_communicator.h"

namespace wattle {

/// What is measured of a compressed model after training, for its report.
struct CompressionMeasures {
  std::vector<RoundedModel> baselines;
  std::optional<InferenceComparison> inference;
  std::map<std::string, double> loss_effects;
  std::map<std::string, double> clipped_shares;  ///< of activations, by their points
  std::string why_not;  ///< why something was not measured; "" where all was
  std::string failure;  ///< the same, where it was tried in vain
};

/// With what measure_compression() works; `evaluator` and `evaluator_of` are of the validation set.
struct MeasuringTools {
  Evaluator* evaluator = nullptr;  ///< of the replica's model; null without a validation set
  std::function<std::unique_ptr<Evaluator>(Model&)> evaluator_of;
  const CalibrationSet& calibration;
  AgreeingCommunicator& ranks;
  FiguresExchange& exchange;  ///< over `ranks`, as what else here exchanges
  RunAccounts& accounts;
  const std::vector<std::unique_ptr<Callback>>& callbacks;
  int64_t steps = 0;                     ///< done
  double run_seconds = 0;                ///< so far
  std::function<void()> keep_to_limits;  ///< pauses between pieces of work; empty without limits
};

/// Nothing where nothing is compressed, and where joules are budgeted: these passes could spend
/// more than is left. What can't be measured, on one rank or all, is left out on every rank, and
/// the others are measured. Collective.
CompressionMeasures measure_compression(const RunConfig& config, Replica& replica,
                                        const MeasuringTools& tools);

/// What has come of a run besides its measures.
struct CompressionOutcome {
  std::string ledger;
  int64_t steps = 0;  ///< done
  const ExportedFiles& files;
  const std::vector<std::unique_ptr<Callback>>& callbacks;
};

/// Adds them to the report, with hashes of what was exported and why something was not. One rank.
void add_compression_summary(const RunConfig& config, const Replica& replica,
                             const CompressionOutcome& outcome, const CompressionMeasures& measures,
                             nlohmann::ordered_json& report);

}  // namespace wattle
