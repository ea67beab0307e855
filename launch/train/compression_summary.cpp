#include "launch/train/compression_summary.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

namespace wattle {

CompressionMeasures measure_compression(const RunConfig& config, Replica& replica,
                                        Evaluator* evaluator, RunAccounts& accounts,
                                        const CalibrationSet& calibration) {
  CompressionMeasures measures;
  FlatParameters& parameters = *replica.parameters;
  if (parameters.transforms().empty() || config.energy.budget_joules) return measures;
  if (evaluator) measures.inference = compare_inference(*evaluator, parameters, accounts);
  int64_t samples = 0;
  for (const CompressionEntry& entry : config.compression) {
    if (entry.quantize) samples = std::max(samples, entry.quantize->effect_samples);
  }
  if (samples > 0) {
    measures.loss_effects = loss_effects(replica.model, parameters, calibration, samples);
  }
  return measures;
}

void add_compression_summary(const RunConfig& config, const Replica& replica,
                             const DataSource& data,
                             const std::vector<std::unique_ptr<Callback>>& callbacks,
                             const std::string& ledger, const CompressionMeasures& measures,
                             nlohmann::ordered_json& report) {
  const Deployment deployment = deployment_of(*replica.parameters);
  if (deployment.empty()) return;
  CompressionFacts facts{.model = replica.model,
                         .deployment = deployment,
                         .ledger_hash = text_hash(ledger),
                         .exported = {},
                         .baselines = {},
                         .quantizers = {},
                         .inference = measures.inference,
                         .loss_effects = measures.loss_effects,
                         .unit = config.data.has_sequences() ? "token" : "sample"};
  const std::filesystem::path folder = std::filesystem::path(config.run.output_dir) / "export";
  for (const ExportOptions& wanted : config.exports) {
    const std::filesystem::path path = folder / wanted.resolved_path();
    if (exists(path)) facts.exported.push_back(path);
  }
  for (const auto& callback : callbacks) {
    const auto* baseline = dynamic_cast<const BaselineCallback*>(callback.get());
    if (baseline != nullptr) facts.baselines.push_back(baseline);
    const auto* quantizer = dynamic_cast<const QuantizeCallback*>(callback.get());
    if (quantizer != nullptr) facts.quantizers.push_back(quantizer);
  }
  if (data.validation) {
    const bool tokens = config.data.has_sequences();
    facts.units = data.validation->size() * (tokens ? data.validation->shape().inputs[0] : 1);
  }
  add_compression(facts, report);
}

}  // namespace wattle
