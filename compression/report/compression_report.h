#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "compression/deployment.h"
#include "compression/posttraining/posttraining.h"
#include "compression/report/activation_figures.h"
#include "compression/report/baseline.h"
#include "compression/report/inference.h"

namespace wattle {

/// A float model quantised after training, with which a run is compared.
struct RoundedModel {
  enum class Of { kFloatRun, kTeacher, kOwnWeights };
  Of of = Of::kOwnWeights;
  std::string path = {};  ///< of a float run or a teacher
  /// None where rounding this run's own weights gives the very ones that it deploys.
  std::optional<PostTrainingLosses> losses = {};
};

/// What a run's report says of its compression is made of.
struct CompressionFacts {
  const Model& model;
  const Deployment& deployment;
  std::string ledger_hash;
  int64_t steps = 0;  ///< done
  std::vector<RoundedModel> baselines;
  std::vector<const BaselineCallback*> gptq;
  std::vector<const QuantizeCallback*> quantizers;
  std::optional<InferenceComparison> inference;
  std::map<std::string, double> loss_effects;  ///< by tensor; empty: not measured
  std::vector<ActivationFigures> activations;
  std::map<std::string, double> clipped_shares;  ///< by activation; empty: not measured
  std::string not_measured;                      ///< why something was not; "" where all was
  std::string unit;                              ///< "token" or "sample"
  std::string loss_unit;                         ///< "nats" or "mean squared error"
};

/// Adds to a report (common/report) the key "compression", and cards and tables that show it (with
/// "not_measured", where something wasn't, and why):
/// of each quantised tensor its format, bits, mean scale, clipped share, signal-to-noise ratio and
/// bytes before and after, and "loss_effect", as loss_effects() has it (where its format can't hold
/// the last values, "not_rounded" says why, and what follows from rounding is null); of each
/// activation that is rounded its width, scale, zero point and clipped share; what this run gained
/// over quantisation after training, and of which model; joules of inference before and after, and
/// whether they grew as far as that can be told.
///
/// "baselines": each names in "of" and "what" which float model was quantised after training.
/// "gained_over_nearest" and "gained_over_gptq" (in "loss_unit") are there where that model was
/// trained as long as this one; "recovered_share" where it is a float run: the share of what
/// rounding it loses that this run doesn't lose.
void add_compression(const CompressionFacts& facts, nlohmann::ordered_json& report);

/// Adds the key "exported" and its table: size and XXH3-128 of each file of `paths`, files and
/// folders. `ledger`: "" without compression.
void add_exports(const std::vector<std::string>& paths, const std::string& ledger,
                 nlohmann::ordered_json& report);

/// The cards and tables of the key "compression", for people. `unit` as in the facts.
void show_compression(const std::string& unit, nlohmann::ordered_json& report);
/// Of the key "exported".
void show_exports(const std::string& ledger_hash, nlohmann::ordered_json& report);

}  // namespace wattle
