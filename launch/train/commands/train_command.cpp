#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "common/atomic_file.h"
#include "common/error.h"
#include "common/unfinished_files.h"
#include "compression/make_callbacks.h"
#include "launch/train/commands/training_run.h"
#include "launch/train/float_first.h"
#include "launch/train/model_checks.h"
#include "launch/train/teacher.h"
#include "trainer/callbacks/early_stop.h"
#include "trainer/data/rows/row_dataset.h"
#include "trainer/loop/energy/compute_rate.h"

namespace wattle {
namespace {

std::vector<std::unique_ptr<Callback>> make_callbacks(const RunConfig& config, Replica& replica,
                                                      const CompressionTools& tools) {
  std::vector<std::unique_ptr<Callback>> callbacks =
      make_compression_callbacks(config.compression, replica.model, *replica.parameters, tools);
  if (config.train.early_stop) {
    callbacks.push_back(std::make_unique<EarlyStop>(*config.train.early_stop));
  }
  return callbacks;
}

/// The path of another of the programs.
std::string beside_this_program(const std::string& name) {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
}

/// From here on the folder is this run's alone, and failures stand in its error.json.
std::unique_ptr<RunLock> lock_output(const RunSession& session) {
  const std::string& folder = session.config.run.output_dir;
  std::unique_ptr<RunLock> lock;
  if (session.world.rank() == 0) lock = std::make_unique<RunLock>(folder);
  session.guard.set_output_dir(session.whole_folder());
  if (lock) remove_unfinished_files(std::filesystem::path(folder) / "export");
  return lock;
}

}  // namespace

TrainingRun::TrainingRun(const RunSession& session)
    : session_(session),
      config_(session.config),
      ranks_(session.world),
      threads_(set_up_threads(session)),
      lock_(lock_output(session)),
      exchange_(ranks_, at::kCPU),
      energy_(config_.energy, clock_),
      data_(prepare_and_open(config_, session.world, shape_of_model(config_),
                             DataUse::kTrainAndEvaluate)),
      plan_(BatchPlan::of(config_.train.global_batch, config_.train.micro_batch,
                          session.world.size())),
      steps_(steps_of(config_.train, plan_, *data_.train)),
      checkpointer_(config_.run.output_dir, config_.checkpoint, session.world.rank(),
                    session.world.size()),
      identity_(identity_of(config_, shape_of_model(config_), plan_, *data_.train)),
      resume_(find_resume_point(session, identity_, checkpointer_, exchange_)),
      one_rank_(one_rank_time(session, resume_, threads_, *data_.train, energy_)),
      replica_(make_replica(config_, session.world)),
      state_{*replica_.parameters,
             *replica_.optimizer,
             replica_.model.buffers,
             {},
             files_of(replica_)},
      accounts_(exchange_, energy_, resume_.earlier_energy),
      matmul_rate_(measure_matmul_rate(working_type(config_.train.precision), at::kCPU)),
      calibration_(calibration_set(*data_.train, ranks_)) {}

void TrainingRun::say(const std::string& line) const {
  if (is_first()) std::cerr << line << std::endl;
}

LoopSettings TrainingRun::loop_settings() const {
  LoopSettings settings;
  settings.train = config_.train;
  settings.seed = config_.run.seed;
  settings.steps = steps_;
  settings.attempt = resume_.attempt;
  const int64_t sequence = config_.data.has_sequences() ? config_.data.sequence_length : 0;
  settings.tokens_per_sample = sequence;
  settings.flops_per_sample = training_flops(replica_.model, replica_.options, sequence) *
                              static_cast<double>(std::max<int64_t>(1, sequence));
  settings.matmul_rate = matmul_rate_ * session_.world.size();
  ModelOptions shape = replica_.options;
  settings.checkpoint_sections["model"] = nlohmann::json(write_config(fields_of(shape))).dump();
  settings.checkpoint_sections["run"] = to_section(identity_);
  if (const auto inputs = input_metadata(*data_.train); !inputs.empty()) {
    settings.checkpoint_sections[kInputsSection] = nlohmann::json(inputs).dump();
  }
  settings.training_is_done = resume_.sections.contains(kTrainingIsDone);
  if (one_rank_.steps > 0) settings.checkpoint_sections["one_rank"] = to_section(one_rank_);
  return settings;
}

void TrainingRun::greet() const {
  if (!is_first()) return;
  say(fmt::format(
      "{}: {:.2f} M parameters, {} steps of {} samples on {} rank{} ({} a micro-batch; {})",
      config_.run.name, static_cast<double>(replica_.model.parameter_count()) / 1e6, steps_,
      plan_.global_batch, plan_.ranks, plan_.ranks == 1 ? "" : "s", plan_.micro_batch, threads_));
  for (const std::string& note : energy_.notes()) say("energy: " + note);
  for (const std::string& warning : resume_.warnings) say("warning: " + warning);
  if (!config_.train.steps) {  // else the file's reader has told
    for (const LatePhase& phase : late_phases(config_, steps_)) {
      say(fmt::format("warning: {}: {}", phase.key, phase.message));
    }
  }
  if (resume_.step > 0) say(fmt::format("going on after step {}", resume_.step));
}

/// Whether the evaluations of earlier attempts end training by the patience of now.
bool TrainingRun::is_stopped_early() const {
  if (!config_.train.early_stop) return false;
  EarlyStop early_stop(*config_.train.early_stop);
  const auto state = resume_.sections.find(early_stop.name());
  if (state == resume_.sections.end()) return false;
  early_stop.load_state(state->second);
  return early_stop.has_ended();
}

/// Whether an earlier attempt did all steps, or was and stays stopped early by its validation loss,
/// and reported them: then there is nothing to add.
bool TrainingRun::is_complete() {
  double complete = 0;
  if (is_first() && resume_.checkpoint) {
    std::ifstream file(config_.run.output_dir + "/report.json");
    const auto report = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
    const auto of = [](const nlohmann::json& object, const char* key) {
      return object.is_object() ? object.value(key, nlohmann::json()) : nlohmann::json();
    };
    const nlohmann::json training = of(report, "training");
    const nlohmann::json ended = of(training, "ended");
    complete =
        of(training, "steps") == resume_.step && ((ended == kDone && resume_.step >= steps_) ||
                                                  (ended == kStoppedEarly && is_stopped_early()));
  }
  return exchange_.gather({&complete, 1}).front().front() != 0;
}

int TrainingRun::run() {
  if (is_complete()) {
    const char* early = resume_.step < steps_ ? ": train.early_stop ended training, and only with "
                                                "a larger patience does it go on"
                                              : "";
    say(fmt::format("{}: nothing is left to do after step {}{}; see {}/report.html",
                    config_.run.name, resume_.step, early, config_.run.output_dir));
    return kExitDone;
  }
  if (is_first()) check_export_places(config_);
  const std::unique_ptr<Evaluator> evaluator = evaluator_of(replica_.model);
  prepare_callbacks(evaluator.get());
  restore(resume_, state_);
  Loader loader(*data_.train, plan_, config_.run.seed);
  if (is_first()) loader.consumed() = resume_.consumed;
  const Records records = is_first() ? open_records() : Records{};
  EnergyGovernor governor(config_.energy, session_.whole_folder(),
                          {exchange_,
                           energy_,
                           clock_,
                           [this] { return session_.guard.stop_requested(); },
                           [this](const std::string& line) { say(line); },
                           {beside_this_program("wattle"), "energy", "--guard"}});
  TrainingStep step({replica_.model, *replica_.parameters, *replica_.reducer, *replica_.optimizer,
                     exchange_, energy_, [&governor] { governor.pace(); }},
                    {config_.run.seed, config_.run.deterministic, config_.train.grad_clip});
  const LearningRateSchedule schedule(config_.optimizer.schedule, config_.optimizer.lr, steps_);
  TrainingLoop loop(
      {step, state_, replica_.model, loader, evaluator.get(), checkpointer_, accounts_, governor,
       energy_, exchange_, schedule, callbacks_, records.metrics.get(), records.progress.get(),
       [this] { return session_.guard.stop_requested(); }},
      loop_settings());
  keep_to_limits_ = [&loop] { loop.keep_to_limits(); };
  greet();
  const RunEnd end = loop.run(resume_.step);
  report(end, loop, evaluator.get());
  say_end(end, loop, governor);
  return end == RunEnd::kStopped       ? kExitStopped
         : end == RunEnd::kBudgetSpent ? kExitBudgetSpent
                                       : kExitDone;
}

/// What a callback puts between master and working values has tensors of its own to restore: they
/// must be there before the checkpoint is read.
void TrainingRun::prepare_callbacks(Evaluator* evaluator) {
  check_with_model(config_, steps_, replica_.options, replica_.model);
  callbacks_ = make_callbacks(config_, replica_,
                              {&ranks_, &calibration_,
                               [this](const std::string& path, const std::string& key) {
                                 return load_teacher(config_, path, key, replica_.options,
                                                     replica_.tokenizer);
                               },
                               evaluator, config_.energy.budget_joules});
  for (const auto& callback : callbacks_) {
    if (auto it = resume_.sections.find(callback->name()); it != resume_.sections.end()) {
      callback->load_state(it->second);
    }
  }
}

/// Null without validation data.
std::unique_ptr<Evaluator> TrainingRun::evaluator_of(Model& model) {
  if (!data_.validation) return nullptr;
  return std::make_unique<Evaluator>(
      model, *data_.validation, evaluation_plan(config_, *data_.validation, session_.world.size()),
      exchange_, energy_, [this] {
        if (keep_to_limits_) keep_to_limits_();
      });
}

/// Rank 0: resolved.yaml is written, metrics.jsonl and the terminal are opened.
TrainingRun::Records TrainingRun::open_records() const {
  AtomicFile resolved(config_.run.output_dir + "/resolved.yaml");
  RunConfig config = config_;
  resolved.write(write_config(fields_of(config)));
  resolved.commit();
  return {std::make_unique<MetricsWriter>(config_.run.output_dir + "/metrics.jsonl"),
          std::make_unique<Progress>(std::cerr, width_of_standard_error())};
}

int train_command(const RunSession& session) {
  if (!session.config.float_run) return TrainingRun(session).run();
  return train_after_float_run(session,
                               [](const RunSession& part) { return TrainingRun(part).run(); });
}

}  // namespace wattle
