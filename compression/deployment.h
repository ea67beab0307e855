#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compression/formats/weight_format.h"
#include "trainer/state/named_tensor.h"

namespace wattle {

class ActivationQuantizer;
class FlatParameters;
struct Model;
class WeightQuantizer;

/// A weight on its way into a file.
struct DeployedWeight {
  at::Tensor values;  ///< before rounding, float32; with batch norm folded in where that is
  std::shared_ptr<const WeightFormat> format;
  std::optional<WeightScales> scales;  ///< where they don't follow from the values
  bool has_norm = false;               ///< batch norm is folded into the values
};

/// The weights of a model that are quantised, by their names; all others are deployed as forward
/// reads them.
using Deployment = std::map<std::string, DeployedWeight>;

/// What training's forward passes read now. The values may share storage with the master.
Deployment deployment_of(const FlatParameters& parameters);

/// Rounds the biases of a model on whose points the quantisers of its activations are, before
/// quantise_model() rounds its weights. Returns them as they were, by their names.
std::vector<NamedTensor> round_biases(
    const std::vector<std::unique_ptr<WeightQuantizer>>& quantizers,
    const std::vector<std::unique_ptr<ActivationQuantizer>>& activations, Model& model);

/// Applies a checkpoint's quantisers to the values of a model, so that forward reads what
/// training's last one read.
Deployment quantise_model(const std::vector<std::unique_ptr<WeightQuantizer>>& quantizers,
                          Model& model);

/// The key under which a section of a checkpoint keeps what only a run that goes on needs, such as
/// measured joules: no part of the ledger.
inline constexpr const char* kResumeKey = "resume";

/// The compression ledger: what the entries of `compression` were told and did, as JSON text with
/// sorted keys, made of their sections of a checkpoint. It holds no times, paths or joules, so that
/// equal runs have equal ledgers. "" without compression.
std::string compression_ledger(const std::map<std::string, std::string>& sections);

/// The key of a file's metadata under which the ledger's text_hash() stands.
inline constexpr const char* kLedgerKey = "wattle.compression_ledger.xxh3_128";

/// XXH3-128 of a text, 32 hex digits: what `xxh128sum` prints.
std::string text_hash(std::string_view text);

}  // namespace wattle
