#include "launch/train/run_session.h"

#include <ATen/Context.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "compression/activations/saved_activations.h"
#include "compression/quantize/saved_quantizer.h"
#include "launch/train/config/model_fits_data.h"
#include "parallel/threads.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/training_state.h"
#include "trainer/models/build_model.h"
#include "trainer/models/weights/model_file.h"

namespace wattle {

at::ScalarType master_type(Precision precision) {
  return precision == Precision::kFp64 ? at::kDouble : at::kFloat;
}

at::ScalarType working_type(Precision precision) {
  return precision == Precision::kBf16 ? at::kBFloat16 : master_type(precision);
}

namespace {

/// The shape of the model that a checkpoint holds.
ModelOptions options_of(const CheckpointReader& checkpoint) {
  ModelOptions options;
  Fields fields = fields_of(options);
  Diagnostics diagnostics;
  const std::string text = nlohmann::json::parse(checkpoint.meta().sections.at("model"));
  read_config_text(text, "the checkpoint's model", fields, {}, diagnostics);
  diagnostics.throw_if_errors();
  return options;
}

/// The file of a checkpoint that holds the tokenizer's keys.
constexpr const char* kTokenizerFile = "tokenizer.gguf";

GgufMetadata tokenizer_of(const CheckpointReader& checkpoint) {
  const std::string name = std::string("file.") + kTokenizerFile;
  if (!checkpoint.has(name)) return {};
  const at::Tensor bytes = checkpoint.read_whole(name);
  const auto* data = static_cast<const std::byte*>(bytes.const_data_ptr());
  return parse_gguf({data, static_cast<size_t>(bytes.numel())}, name).metadata;
}

ShapedModel model_of_checkpoint(const CheckpointReader& checkpoint, const RunConfig& config) {
  ShapedModel shaped{options_of(checkpoint), {}};
  shaped.tokenizer = tokenizer_of(checkpoint);
  shaped.model = build_model(shaped.options, config.run.seed, master_type(config.train.precision));
  load_weights(checkpoint, shaped.model);
  const auto& sections = checkpoint.meta().sections;
  if (const auto inputs = sections.find(kInputsSection); inputs != sections.end()) {
    shaped.inputs = nlohmann::json::parse(inputs->second);
  }
  return shaped;
}

/// The model as it is deployed, with the quantisation that is active in the checkpoint.
ShapedModel compressed_model(const std::filesystem::path& path, const RunConfig& config) {
  const CheckpointReader checkpoint(resolve_checkpoint(path));
  ShapedModel shaped = model_of_checkpoint(checkpoint, config);
  if (config.evaluate.masters) return shaped;
  const auto quantizers = active_quantizers(checkpoint, shaped.model);
  shaped.activations = apply_active_activations(checkpoint.meta(), shaped.model);
  shaped.biases = round_biases(quantizers, shaped.activations, shaped.model);
  shaped.deployment = quantise_model(quantizers, shaped.model);
  shaped.compression_ledger = compression_ledger(checkpoint.meta().sections);
  shaped.not_yet_quantised = not_yet_quantised(checkpoint.meta(), config.train.steps);
  return shaped;
}

/// The tokenizer's keys of a GGUF file; none of any other file.
GgufMetadata tokenizer_of_file(const std::string& path) {
  return path.ends_with(".gguf") ? tokenizer_keys(GgufFile(path).metadata()) : GgufMetadata();
}

}  // namespace

bool has_checkpoint(const std::filesystem::path& output_dir) {
  const std::unique_ptr<Storage> storage = make_posix_storage();
  return CheckpointFolder(output_dir, *storage).find_newest_whole().newest.has_value();
}

bool is_checkpoint(const std::filesystem::path& path) {
  constexpr std::array kOfOthers = {"config.json", "model.safetensors",
                                    "model.safetensors.index.json"};
  return is_directory(path) &&
         std::ranges::none_of(kOfOthers, [&](const char* name) { return exists(path / name); });
}

std::vector<NamedTensor> ShapedModel::parameters() const {
  std::vector<NamedTensor> all;
  for (const Parameter* parameter : model.parameters) {
    const auto rounded = std::ranges::find(biases, parameter->name(), &NamedTensor::name);
    all.push_back(
        {parameter->name(), rounded == biases.end() ? parameter->value() : rounded->value});
  }
  return all;
}

std::vector<NamedTensor> files_of(const Replica& replica) {
  if (replica.tokenizer.all().empty()) return {};
  const std::string bytes = gguf_bytes(replica.tokenizer);
  at::Tensor content = at::empty({static_cast<int64_t>(bytes.size())}, at::kByte);
  std::memcpy(content.mutable_data_ptr(), bytes.data(), bytes.size());
  return {{kTokenizerFile, content}};
}

ModelOptions shape_of_model(const RunConfig& config) {
  if (!config.model.init_from) return config.model;
  const std::string& path = *config.model.init_from;
  if (!is_checkpoint(path)) return ModelFile(path).options(config.model);
  return options_of(CheckpointReader(resolve_checkpoint(path)));
}

bool predicts_values(const ModelOptions& model) {
  return !model.is_language_model() && model.resolved_loss() == ModelLoss::kMse;
}

std::string loss_unit(const ModelOptions& model) {
  return predicts_values(model) ? "mean squared error" : "nats";
}

GgufMetadata tokenizer_of_model(const RunConfig& config) {
  if (!config.model.init_from) return tokenizer_of_file(config.data.tokenizer);
  const std::string& path = *config.model.init_from;
  if (!is_checkpoint(path)) return tokenizer_of_file(path);
  return tokenizer_of(CheckpointReader(resolve_checkpoint(path)));
}

ShapedModel make_model(const RunConfig& config) {
  if (!config.model.init_from) {
    ShapedModel shaped{config.model, {}};
    shaped.model = build_model(config.model, config.run.seed, master_type(config.train.precision));
    shaped.tokenizer = tokenizer_of_model(config);
    return shaped;
  }
  const std::filesystem::path path = *config.model.init_from;
  if (is_checkpoint(path)) {
    return model_of_checkpoint(CheckpointReader(resolve_checkpoint(path)), config);
  }
  const ModelFile file(path);
  ShapedModel shaped{file.options(config.model), {}};
  shaped.model = build_model(shaped.options, config.run.seed, master_type(config.train.precision));
  file.load(shaped.options, shaped.model.parameters);
  shaped.tokenizer = tokenizer_of_model(config);
  return shaped;
}

ShapedModel trained_model(const RunSession& session) {
  const RunConfig& config = session.config;
  if (!session.init_from_given && has_checkpoint(config.run.output_dir)) {
    return compressed_model(config.run.output_dir, config);
  }
  if (config.model.init_from) {
    const std::filesystem::path path = *config.model.init_from;
    return is_checkpoint(path) ? compressed_model(path, config) : make_model(config);
  }
  throw Error(ErrorCode::kConfig, config.run.output_dir +
                                      ": holds no whole checkpoint; train first, or name a model "
                                      "with --set model.init_from=...");
}

Replica make_replica(const RunConfig& config, Communicator& group) {
  Replica replica;
  ShapedModel shaped = make_model(config);
  replica.options = std::move(shaped.options);
  replica.model = std::move(shaped.model);
  replica.tokenizer = std::move(shaped.tokenizer);
  const FlatLayout layout = layout_of(replica.model.parameters);
  const at::ScalarType type = master_type(config.train.precision);
  replica.reducer =
      make_gradient_reducer(group, layout, type, {.deterministic = config.run.deterministic});
  replica.parameters = std::make_unique<FlatParameters>(
      replica.model.parameters, layout, replica.reducer->gradients(), config.train.precision);
  replica.optimizer =
      make_optimizer(config.optimizer, decaying_ranges(replica.model.parameters, layout),
                     {0, layout.numel}, replica.parameters->master());
  return replica;
}

DataSource prepare_and_open(const RunConfig& config, Communicator& world, const ModelOptions& model,
                            DataUse use) {
  check_model_takes(model, config);
  if (world.rank() == 0) prepare_data(config.data, use);
  world.barrier();
  // On a node that shares no folder with rank 0's, what it prepared is not there.
  if (world.rank() != 0) prepare_data(config.data, use);
  DataSource data = open_data(config.data, config.evaluate, use);
  for (const Dataset* dataset : {data.train.get(), data.validation.get()}) {
    if (dataset) check_model_takes(model, dataset->shape());
  }
  if (use == DataUse::kTrainAndEvaluate && config.train.early_stop && !data.validation) {
    throw Error(ErrorCode::kConfig,
                "train.early_stop: needs validation samples, but data.validation holds none out");
  }
  return data;
}

int64_t steps_of(const TrainOptions& train, const BatchPlan& plan, const Dataset& dataset) {
  return train.steps ? *train.steps : plan.steps_for(*train.epochs, dataset.size());
}

std::string set_up_threads(const RunSession& session) {
  const RunOptions& run = session.config.run;
  ThreadOptions options{.threads = run.threads, .pin = run.deterministic};
  if (run.deterministic && run.threads == 0) options.threads = 1;
  if (run.deterministic) at::globalContext().setDeterministicAlgorithms(true, false);
  return set_threads(session.world, options);
}

CalibrationSet calibration_set(const Dataset& train, Communicator& world) {
  constexpr int64_t kBatch = 8;
  return {train, kBatch, world};
}

EvaluationPlan evaluation_plan(const RunConfig& config, const Dataset& dataset, int ranks) {
  return {dataset.size(), config.evaluate.batch.value_or(8), ranks};
}

}  // namespace wattle
