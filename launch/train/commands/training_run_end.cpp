// What a run does once it has trained: export, measure, report.
#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "common/report/report.h"
#include "launch/train/commands/sample_text.h"
#include "launch/train/commands/training_run.h"
#include "trainer/data/rows/row_dataset.h"
#include "trainer/loop/records/run_report.h"

namespace wattle {

void TrainingRun::say_end(RunEnd end, const TrainingLoop& loop, const EnergyGovernor& governor) {
  if (end == RunEnd::kStopped) {
    say(fmt::format("stopped after step {}; {}", loop.steps_done(),
                    how_to_go_on(loop, "run it again")));
  }
  if (end == RunEnd::kBudgetSpent) {
    say(fmt::format("{} after step {} of {}; {}",
                    governor.budget_text(accounts_.run_joules().value_or(0)), loop.steps_done(),
                    steps_, how_to_go_on(loop, "give it a larger energy.budget_joules")));
  }
}

std::string TrainingRun::how_to_go_on(const TrainingLoop& loop, const std::string& change) const {
  if (!loop.has_checkpoint()) return "no step was made, so there is no checkpoint";
  return fmt::format("a checkpoint is saved: {} to go on from there", change);
}

/// Rank 0.
ExportedFiles TrainingRun::export_model() {
  const PhaseWindow window = energy_.window(Phase::kCheckpoint);
  const Deployment deployment = deployment_of(*replica_.parameters);
  std::vector<NamedTensor> parameters;
  for (size_t i = 0; i < replica_.model.parameters.size(); ++i) {
    const Parameter& parameter = *replica_.model.parameters[i];
    parameters.push_back({parameter.name(), deployment.contains(parameter.name())
                                                ? parameter.value()
                                                : replica_.parameters->master_of(i)});
  }
  return write_exports(
      config_, {replica_.options, replica_.model, std::move(parameters), deployment, ledger(),
                replica_.tokenizer, input_metadata(*data_.train)});
}

std::string TrainingRun::ledger() const {
  std::map<std::string, std::string> sections;
  for (const auto& callback : callbacks_) sections[callback->name()] = callback->save_state();
  return compression_ledger(sections);
}

/// Rank 0: if one is wanted.
std::optional<std::string> TrainingRun::make_sample() {
  if (!config_.sample) return std::nullopt;
  const PhaseWindow window = energy_.window(Phase::kEvaluation);
  const std::string sample =
      sample_text(replica_.model, *config_.sample, config_.run.seed, config_.data.sequence_length);
  say("\n" + sample + "\n");
  return sample;
}

CompressionMeasures TrainingRun::measure(const TrainingLoop& loop, Evaluator* evaluator) {
  const PhaseWindow window = energy_.window(Phase::kEvaluation);
  CompressionMeasures measures = measure_compression(
      config_, replica_,
      {evaluator, [this](Model& model) { return evaluator_of(model); }, calibration_, ranks_,
       exchange_, accounts_, callbacks_, loop.steps_done(), clock_.now_seconds() - began_seconds_,
       loop.is_limited() ? keep_to_limits_ : nullptr});
  if (!measures.failure.empty()) say("warning: not measured for the report: " + measures.failure);
  return measures;
}

const char* TrainingRun::how_training_ended(const TrainingLoop& loop,
                                            const ExportedFiles& files) const {
  if (loop.steps_done() < steps_) return files.failure ? kEarlyExportFailed : kStoppedEarly;
  return files.failure ? kExportFailed : kDone;
}

void TrainingRun::report(RunEnd end, TrainingLoop& loop, Evaluator* evaluator) {
  RunFacts facts;
  facts.stream_hash = loop.consumed().hex();
  ExportedFiles files;
  if (is_first() && end == RunEnd::kDone) {
    facts.sample = make_sample();
    files = export_model();
  }
  CompressionMeasures compression;  // after the export: it can fail, and takes its time
  if (end == RunEnd::kDone) compression = measure(loop, evaluator);
  const EnergyLedger ledger = accounts_.close();
  loop.note_energy();
  if (!is_first()) return;
  facts.name = config_.run.name;
  facts.ended = end == RunEnd::kStopped       ? "stopped"
                : end == RunEnd::kBudgetSpent ? "budget spent"
                                              : how_training_ended(loop, files);
  facts.model = name_of(replica_.options.family);
  facts.loss_unit = loss_unit(replica_.options);
  facts.parameters = replica_.model.parameter_count();
  facts.ranks = session_.world.size();
  facts.threads = threads_;
  facts.processor = processor_name();
  facts.global_batch = plan_.global_batch;
  facts.micro_batch = plan_.micro_batch;
  facts.steps = loop.steps_done();
  facts.one_rank_step_seconds = one_rank_.step_seconds;
  facts.one_rank_steps = one_rank_.steps;
  facts.matmul_rate = matmul_rate_ * session_.world.size();
  facts.wall_seconds = clock_.now_seconds() - began_seconds_;
  facts.lost_joules = accounts_.lost_joules();
  facts.energy_source = accounts_.source();
  const std::string& folder = config_.run.output_dir;
  auto report = make_report(facts, ledger, read_metrics(folder + "/metrics.jsonl"));
  add_compression_summary(config_, replica_, {this->ledger(), loop.steps_done(), files, callbacks_},
                          compression, report);
  write_report(folder, report);
  for (const auto& figure : report.at("summary")) {
    say(fmt::format("{:<16} {:<12} {}", figure.at("label").get<std::string>(),
                    figure.at("value").get<std::string>(), figure.at("note").get<std::string>()));
  }
  say(fmt::format("report: {}/report.html", folder));
  if (files.failure) std::rethrow_exception(files.failure);
}

}  // namespace wattle
