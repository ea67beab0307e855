#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compression/activations/activation_quantizer.h"
#include "compression/calibration/calibration_set.h"
#include "compression/deployment.h"
#include "formats/gguf/gguf.h"
#include "launch/train/config/run_config.h"
#include "parallel/communicator.h"
#include "parallel/failure/failure.h"
#include "parallel/reducers/gradient_reducer.h"
#include "trainer/data/data_source.h"
#include "trainer/data/order/batch_plan.h"
#include "trainer/nn/model.h"
#include "trainer/state/flat_parameters.h"
#include "trainer/state/optimizer/optimizer.h"

namespace wattle {

/// What every sub-command has: the file as it was read, the job's ranks, the failure guard.
struct RunSession {
  const RunConfig& config;
  Communicator& world;
  FailureGuard& guard;
  bool init_from_given = false;  ///< model.init_from stands on the command line
  bool json = false;  ///< figures go to standard output as one object, words to standard error
  /// Of the run that this one is a part of: failures stand there, and its power cap counts.
  std::optional<std::string> outer_folder = {};
  const std::string& whole_folder() const {
    return outer_folder ? *outer_folder : config.run.output_dir;
  }
};

/// The section of a checkpoint with what input_metadata() says.
inline constexpr const char* kInputsSection = "inputs";

/// Whether init_from names a checkpoint of Wattle rather than a model that others wrote, of which a
/// file may be missing.
bool is_checkpoint(const std::filesystem::path& path);
/// Whether a run that has this output_dir can go on.
bool has_checkpoint(const std::filesystem::path& output_dir);

/// The master's type for a precision.
at::ScalarType master_type(Precision precision);

/// The model's shape, of which a model file tells in its header: cheap, unlike make_model().
ModelOptions shape_of_model(const RunConfig& config);

/// Its tokenizer's keys, as in Replica: cheap, too.
GgufMetadata tokenizer_of_model(const RunConfig& config);

/// Whether it predicts values rather than tokens or classes.
bool predicts_values(const ModelOptions& model);

/// What its loss is in: "nats" or "mean squared error".
std::string loss_unit(const ModelOptions& model);

/// What forward and backward multiply in.
at::ScalarType working_type(Precision precision);

/// A model and its shape, completed from the file it came from.
struct ShapedModel {
  ModelOptions options;
  Model model;
  /// Of a trained model: what quantisation is active in its checkpoint, applied to `model`.
  Deployment deployment = {};
  std::vector<std::unique_ptr<ActivationQuantizer>> activations = {};  ///< on the model's points
  std::vector<NamedTensor> biases = {};  ///< those that are rounded in `model`, as they were
  std::string compression_ledger = {};   ///< "" without
  /// What its run was to quantise later, to its end; empty of a run that is over.
  std::vector<std::string> not_yet_quantised = {};
  GgufMetadata tokenizer = {};  ///< as in Replica
  /// Of a checkpoint's model: as input_metadata() has it.
  std::map<std::string, std::string> inputs = {};

  /// By their names, as ExportedModel takes them.
  std::vector<NamedTensor> parameters() const;
};

/// The model of the configuration with its first weights: drawn from the seed, or read from
/// model.init_from, which then also says the shape.
ShapedModel make_model(const RunConfig& config);

/// The model that eval and export work on: model.init_from where the command line gives it, else
/// the newest whole checkpoint in output_dir, else the YAML's init_from. Throws Error(kConfig) if
/// there is none of them. Quantisation that is active in a checkpoint is applied.
ShapedModel trained_model(const RunSession& session);

/// A model with all that training changes of it.
struct Replica {
  Model model;
  ModelOptions options;    ///< completed from init_from
  GgufMetadata tokenizer;  ///< keys "tokenizer.*" of the GGUF file that it came from, if one did
  std::unique_ptr<GradientReducer> reducer;
  std::unique_ptr<FlatParameters> parameters;
  std::unique_ptr<Optimizer> optimizer;
};

/// What else its checkpoints must hold so that the model can be exported from them.
std::vector<NamedTensor> files_of(const Replica& replica);

/// Collective over `group`.
Replica make_replica(const RunConfig& config, Communicator& group);

/// Turns texts into tokens on the first rank, then opens the data on every rank. Throws
/// Error(kConfig) naming the key if a model of this (completed) shape can't take it, or if training
/// would lack what it asks for. Collective.
DataSource prepare_and_open(const RunConfig& config, Communicator& world, const ModelOptions& model,
                            DataUse use);

/// Training steps in all.
int64_t steps_of(const TrainOptions& train, const BatchPlan& plan, const Dataset& dataset);

/// Threads per rank as run.threads, run.deterministic and the affinity mask say; returns it in
/// words. Collective.
std::string set_up_threads(const RunSession& session);

/// The samples that compression looks at besides training, in batches that no key changes: ranges
/// follow from them, and so the bytes of exported files.
CalibrationSet calibration_set(const Dataset& train, Communicator& world);

/// The batches of an evaluation.
EvaluationPlan evaluation_plan(const RunConfig& config, const Dataset& dataset, int ranks);

}  // namespace wattle
