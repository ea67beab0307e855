#include "launch/train/config/run_config.h"

#include <fmt/format.h>

#include <filesystem>
#include <thread>

#include "launch/train/config/exports_fit.h"
#include "launch/train/config/model_fits_data.h"
#include "scheduler/config/agent_options.h"
#include "scheduler/config/client_options.h"
#include "scheduler/config/cluster_options.h"

namespace wattle {
namespace {

/// What no section can tell alone.
void derive_defaults(RunConfig& config) {
  if (config.run.name.empty()) {
    config.run.name = std::filesystem::path(config.run.output_dir).lexically_normal().filename();
  }
  const bool any_number = config.data.resolved_targets() == DataOptions::Targets::kNumbers;
  const bool chooses =
      config.model.family == ModelFamily::kMlp && config.model.loss == ModelLoss::kAuto;
  if (chooses && any_number) config.model.loss = ModelLoss::kMse;
}

void check_evaluation(const RunConfig& config, Checker& c) {
  const EvaluateOptions& evaluate = config.evaluate;
  c.require(!evaluate.masters || !evaluate.integers, "evaluate.masters",
            "is float, and evaluate.integers is not");
  const bool has_tokens = config.model.is_language_model();
  constexpr const char* kNeeds = "needs a model of rows or images";
  c.require(!evaluate.integers || !has_tokens, "evaluate.integers", kNeeds);
  c.require(!evaluate.predictions || !has_tokens, "evaluate.predictions", kNeeds);
}

void check_float_run(const RunConfig& config, Checker& c) {
  c.require(!config.float_run || !config.compression.empty(), "float_run",
            "compression is empty, so there is nothing to compare with it");
  for (size_t i = 0; i < config.compression.size(); ++i) {
    const auto& distil = config.compression[i].distil;
    c.require(!distil || distil->teacher || config.float_run, distil_name(i) + ".teacher",
              "is required; or train one first with a section float_run");
  }
}

/// Which weights of an entry that ends nothing rounds at the last step; "" where others surely
/// round all of them.
std::string left_in_float(const RunConfig& config, const QuantizeOptions& ended, int64_t steps) {
  using enum EmbeddingFormat;
  bool any = false;
  for (const CompressionEntry& entry : config.compression) {
    const auto& next = entry.quantize;
    if (!next || next->begin_step < *ended.end_step || !next->deployed_after(steps)) continue;
    any = true;
    const bool has_all =
        (next->targets.empty() || next->targets == ended.targets) &&
        (next->resolved_embeddings() != kFloat || ended.resolved_embeddings() == kFloat);
    if (has_all) return "";
  }
  return any ? "weights that no later entry has are" : "these weights are";
}

}  // namespace

std::vector<LatePhase> late_phases(const RunConfig& config, int64_t steps) {
  std::vector<LatePhase> late;
  const auto add = [&](const std::string& key, const std::optional<int64_t>& step, int64_t last) {
    if (!step || *step <= last) return;
    late.push_back({key, fmt::format("{} is past the last step, {}", *step, steps)});
  };
  for (size_t i = 0; i < config.compression.size(); ++i) {
    if (const auto& distil = config.compression[i].distil) {
      add(distil_name(i) + ".begin_step", distil->begin_step, steps - 1);
    }
    const std::optional<QuantizeOptions>& quantize = config.compression[i].quantize;
    if (!quantize) continue;
    const std::string name = quantize_name(i) + ".";
    add(name + "begin_step", quantize->begin_step, steps);
    if (quantize->learn != ScaleLearning::kNone && quantize->begin_step == steps) {
      late.push_back({name + "learn",
                      fmt::format("nothing is learned: begin_step is the last step, {}", steps)});
    }
    const bool ends = quantize->end_step.value_or(steps) < steps && !config.exports.empty();
    const std::string left = ends ? left_in_float(config, *quantize, steps) : "";
    if (!left.empty()) {
      late.push_back(
          {name + "end_step",
           fmt::format("{} is before the last step, {}: {} in float when they are "
                       "exported{}",
                       *quantize->end_step, steps, left,
                       may_deploy(config, *quantize) ? ", unless training stops by then" : "")});
    }
    add(name + "freeze_observers_step", quantize->freeze_observers_step, steps);
    add(name + "freeze_batch_norm_step", quantize->freeze_batch_norm_step, steps);
    if (quantize->activations)
      add(name + "activations.begin_step", quantize->activation_step(), steps);
  }
  return late;
}

void RunConfig::describe(Fields& f) {
  f("run", run, "what the run is and where it writes").required();
  f("model", model, "the model's family and shape, or the file it starts from").required();
  f("data", data, "what it learns from and is evaluated on").required();
  f("train", train, "how long and in what batches").required();
  f("evaluate", evaluate, "which positions an evaluation scores");
  f("optimizer", optimizer, "the update and its learning rate");
  f("parallelism", parallelism, "how ranks share the work");
  f("compression", compression, "what makes the model smaller while it trains, in order");
  f("float_run", float_run,
    "trains this file in float first, in the folder \"float\" of the output folder: what distil "
    "learns from and quantize is compared with. Takes a run's time besides; energy.budget_joules "
    "is for both");
  f("energy", energy, "how energy is measured and limited");
  f("checkpoint", checkpoint, "when the state is saved");
  f("sample", sample, "a text generated when training ends");
  f("export", exports, "what is written for other programs when training ends");
  f("job", job, "what the scheduler reads; wattle-train checks it and uses nothing of it");
  f.check([this](Checker& c) {
    if (model.family != ModelFamily::kFromFile) {  // else the file says its shape
      for (const Misfit& misfit : misfits(model, *this)) {
        c.require(false, misfit.key, misfit.message);
      }
    }
    check_exports(*this, c);
    check_evaluation(*this, c);
    check_compression(compression, train.precision, c);
    check_float_run(*this, c);
    c.require(!run.deterministic || train.micro_batch.has_value(), "run.deterministic",
              "needs train.micro_batch: its default depends on the number of ranks");
    const int64_t processors = std::thread::hardware_concurrency();
    c.require(
        run.threads <= processors, "run.threads",
        fmt::format("{} are more than this machine's {} processors", run.threads, processors));
    c.require(!sample || !sample->prompt.empty(), "sample.prompt",
              "is empty; give at least a letter");
    c.require(!sample || (data.kind == DataOptions::Kind::kText && data.tokenizer == "bytes"),
              "sample", "needs data of kind text whose tokenizer is bytes");
    if (train.steps) {
      for (const LatePhase& phase : late_phases(*this, *train.steps)) {
        c.warn(phase.key, phase.message);
      }
      optimizer.schedule.check_against(*train.steps, "optimizer.schedule.", c);
    }
  });
}

std::vector<std::pair<std::string, std::string>> alternative_keys() {
  return {{"train.steps", "train.epochs"}};
}

RunConfig read_run_config(const std::string& path, const std::vector<std::string>& overrides,
                          std::vector<std::string>& warnings, std::vector<NamedInput>* inputs) {
  RunConfig config;
  Fields fields = fields_of(config);
  Diagnostics diagnostics;
  std::vector<NamedInput> named =
      read_config(path, fields, {overrides, alternative_keys()}, diagnostics).inputs;
  diagnostics.throw_if_errors();
  warnings.insert(warnings.end(), diagnostics.warnings().begin(), diagnostics.warnings().end());
  derive_defaults(config);
  if (config.float_run) config_of_float_run(config, &named);  // throws
  if (inputs) inputs->insert(inputs->end(), named.begin(), named.end());
  return config;
}

std::string config_reference() {
  RunConfig config;
  scheduler::ClusterOptions cluster;
  scheduler::AgentOptions agent;
  scheduler::ClientOptions client;
  return "# The run file\n\n"
         "Every key of the YAML file that `wattle-train` reads, generated from the code that "
         "parses "
         "it\n(`wattle-train --reference`). `--set a.b=c` overrides a key; a number reaches into a "
         "list.\n\n" +
         reference_table(fields_of(config)) +
         "\n# The cluster file\n\nWhat `wattled cluster.yaml` reads.\n\n" +
         reference_table(fields_of(cluster)) +
         "\n# The agent file\n\nWhat `wattle-agent agent.yaml` reads.\n\n" +
         reference_table(fields_of(agent)) +
         "\n# The client file\n\nWhat `wattle` reads, by default "
         "~/.config/wattle/client.yaml.\n\n" +
         reference_table(fields_of(client));
}

}  // namespace wattle
