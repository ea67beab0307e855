#include "launch/train/run_session.h"

#include <ATen/Context.h>
#include <c10/util/accumulate.h>
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "parallel/threads.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/training_state.h"
#include "trainer/models/build_model.h"
#include "trainer/models/weights/model_file.h"

namespace wattle {

at::ScalarType master_type(Precision precision) {
  return precision == Precision::kFp64 ? at::kDouble : at::kFloat;
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

ShapedModel model_of_checkpoint(const std::filesystem::path& path, const RunConfig& config) {
  const CheckpointReader checkpoint(resolve_checkpoint(path));
  ShapedModel shaped{options_of(checkpoint), {}};
  shaped.model = build_model(shaped.options, config.run.seed, master_type(config.train.precision));
  load_weights(checkpoint, shaped.model);
  return shaped;
}

bool has_checkpoint(const std::filesystem::path& output_dir) {
  const std::unique_ptr<Storage> storage = make_posix_storage();
  return CheckpointFolder(output_dir, *storage).find_newest_whole().newest.has_value();
}

}  // namespace

ShapedModel make_model(const RunConfig& config) {
  if (!config.model.init_from) {
    return {config.model,
            build_model(config.model, config.run.seed, master_type(config.train.precision))};
  }
  const std::filesystem::path path = *config.model.init_from;
  if (is_directory(path) && !exists(path / "config.json")) return model_of_checkpoint(path, config);
  const ModelFile file(path);
  ShapedModel shaped{file.options(config.model), {}};
  shaped.model = build_model(shaped.options, config.run.seed, master_type(config.train.precision));
  file.load(shaped.options, shaped.model.parameters);
  return shaped;
}

ShapedModel trained_model(const RunSession& session) {
  const RunConfig& config = session.config;
  if (session.init_from_given) return make_model(config);
  if (has_checkpoint(config.run.output_dir))
    return model_of_checkpoint(config.run.output_dir, config);
  if (config.model.init_from) return make_model(config);
  throw Error(ErrorCode::kConfig, config.run.output_dir +
                                      ": holds no whole checkpoint; train first, or name a model "
                                      "with --set model.init_from=...");
}

Replica make_replica(const RunConfig& config, Communicator& group) {
  Replica replica;
  ShapedModel shaped = make_model(config);
  replica.options = std::move(shaped.options);
  replica.model = std::move(shaped.model);
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

namespace {

void require_fit(bool fits, const std::string& message) {
  if (!fits) throw Error(ErrorCode::kConfig, message);
}

void check_tokens_fit(const ModelOptions& model, const RunConfig& config,
                      const SampleShape& shape) {
  require_fit(model.is_language_model(), fmt::format("data.kind: tokens are for language models, "
                                                     "not for one of family {}",
                                                     name_of(model.family)));
  require_fit(shape.classes <= model.vocab,
              fmt::format("model.vocab: {}, but the data's tokens are of a vocabulary of {}",
                          model.vocab, shape.classes));
  require_fit(!config.model.init_from || shape.classes == model.vocab,
              fmt::format("data.tokenizer: its vocabulary has {} tokens, that of {} has {}: it is "
                          "not the model's tokenizer",
                          shape.classes, config.model.init_from.value_or(""), model.vocab));
  require_fit(shape.inputs.front() <= model.resolved_positions(),
              fmt::format("data.sequence_length or evaluate.window: {} tokens are more than the "
                          "model's {} positions",
                          shape.inputs.front(), model.resolved_positions()));
  require_fit(config.evaluate.bos_token.value_or(0) < model.vocab,
              fmt::format("evaluate.bos_token: {}, but the model's vocabulary has {} tokens",
                          config.evaluate.bos_token.value_or(0), model.vocab));
}

void check_classes_fit(const ModelOptions& model, const SampleShape& shape) {
  const int64_t outputs = model.resolved_outputs();
  require_fit(shape.classes > 0 || outputs == 1,
              fmt::format("model.outputs: {}, but a sample's target is one number", outputs));
  require_fit(
      shape.classes <= outputs,
      fmt::format("model.outputs: {}, but the data has {} classes", outputs, shape.classes));
}

/// Whether the model, its shape completed, can take such samples.
void check_fits(const ModelOptions& model, const RunConfig& config, const SampleShape& shape) {
  if (shape.kind == SampleShape::Kind::kTokens) return check_tokens_fit(model, config, shape);
  require_fit(!model.is_language_model(),
              fmt::format("data.kind: a model of family {} learns from tokens or text",
                          name_of(model.family)));
  check_classes_fit(model, shape);
  const int64_t got = shape.kind == SampleShape::Kind::kImage && model.family != ModelFamily::kMlp
                          ? shape.inputs.front()
                          : c10::multiply_integers(shape.inputs);
  require_fit(got == model.resolved_inputs(),
              fmt::format("model.inputs: {}, but a sample of the data has {}",
                          model.resolved_inputs(), got));
}

}  // namespace

void check_model_fits(const ModelOptions& model, const RunConfig& config, const DataSource& data) {
  for (const Dataset* dataset : {data.train.get(), data.validation.get()}) {
    if (dataset) check_fits(model, config, dataset->shape());
  }
}

DataSource prepare_and_open(const RunSession& session, DataUse use) {
  if (session.world.rank() == 0) prepare_data(session.config.data, use);
  session.world.barrier();
  DataSource data = open_data(session.config.data, session.config.evaluate, use);
  const ModelOptions& model = session.config.model;
  // A model from a file says its shape later.
  if (model.family != ModelFamily::kFromFile) check_model_fits(model, session.config, data);
  return data;
}

std::string set_up_threads(const RunSession& session) {
  const RunOptions& run = session.config.run;
  ThreadOptions options{.threads = run.threads, .pin = run.deterministic};
  if (run.deterministic && run.threads == 0) options.threads = 1;
  if (run.deterministic) at::globalContext().setDeterministicAlgorithms(true, false);
  return set_threads(session.world, options);
}

EvaluationPlan evaluation_plan(const RunConfig& config, const Dataset& dataset, int ranks) {
  return {dataset.size(), config.evaluate.batch.value_or(8), ranks};
}

}  // namespace wattle
