#include "trainer/loop/training_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>

#include "common/error.h"

namespace wattle {

namespace {

/// Master and two optimizer states in float32.
constexpr double kStateBytes = 12;
constexpr double kDiskBytesPerSecond = 100e6;
/// Of the work of a step: the backward pass takes twice that.
constexpr double kForwardShare = 1.0 / 3;

}  // namespace

TrainingLoop::TrainingLoop(Parts parts, LoopSettings settings)
    : parts_(std::move(parts)), settings_(std::move(settings)) {}

bool TrainingLoop::is_over() const { return early_end_ || step_ >= settings_.steps; }

bool TrainingLoop::goes_on() const {
  return !is_over() && !stop_asked_ && !budget_spent_ && !parts_.governor.failure();
}

bool TrainingLoop::fits(double joules) const {
  return parts_.governor.allows(parts_.accounts.run_joules().value_or(0), joules);
}

RunEnd TrainingLoop::run(int64_t step) {
  step_ = first_step_ = saved_step_ = step;
  for (const auto& callback : parts_.callbacks) callback->train_begins(view());
  early_end_ = std::ranges::any_of(parts_.callbacks, [](const auto& c) { return c->has_ended(); });
  parts_.accounts.settle();  // what start-up took belongs to the run, not to its first step
  note_energy();
  parts_.governor.begin(parts_.accounts.run_joules().value_or(0));
  budget_spent_ = !fits(0);
  while (goes_on()) {
    train_step();
    if (step_ == settings_.steps || budget_spent_ || parts_.governor.failure()) break;
    // Before a stop too: an evaluation left out now would never be made up for.
    const std::optional<int64_t> every = settings_.train.eval_every;
    if (every && step_ % *every == 0) evaluate();
    if (goes_on() && parts_.checkpointer.due(step_)) save();
    if (goes_on()) budget_spent_ = !fits(parts_.governor.step_joules());
  }
  return finish();
}

void TrainingLoop::keep_to_limits() {
  if (is_limited()) book_between_steps();
}

bool TrainingLoop::book_between_steps() {
  const SharedFigures figures = parts_.accounts.between(parts_.governor.word());
  const bool fits = parts_.governor.batch_done(figures, parts_.accounts.run_joules().value_or(0));
  parts_.governor.pace();
  return fits;
}

/// What callbacks do before a step (a scan of widths, a look at ranges) is the run's, not the
/// step's: nobody foresees from it what steps use. Where it leaves the budget no further step, what
/// they did is saved.
void TrainingLoop::begin_callbacks() {
  if (parts_.callbacks.empty()) return;
  for (const auto& callback : parts_.callbacks) callback->step_begins(view());
  book_between_steps();
  if (!parts_.governor.is_limited()) return;
  budget_spent_ = !fits(parts_.governor.step_joules());
  if (budget_spent_ && step_ > 0) saved_step_ = -1;
}

void TrainingLoop::train_step() {
  settings_.training_is_done = false;  // by fewer steps
  begin_callbacks();
  if (!goes_on()) return;
  parts_.accounts.begin_step();
  const double lr = parts_.schedule.at(step_);
  const StepOutcome outcome = run_step(lr);
  check_finite(outcome);
  stop_asked_ = outcome.stop_asked;
  ++step_;

  const SharedFigures figures =
      parts_.accounts.end_step(parts_.checkpointer.state(), parts_.governor.word());
  seconds_trained_ += figures.step_seconds;
  tell_gaps(figures);
  settle_checkpoint(figures.checkpoint);
  const MetricsRecord record = record_of(outcome, figures, lr);
  publish(record);
  show(record);
  if (step_ == first_step_ + 1 && record.power_watts) {
    // All state over a modest disk, at the power of the first step.
    const double bytes = static_cast<double>(parts_.state.parameters.layout().numel) * kStateBytes;
    parts_.governor.expect_checkpoint(*record.power_watts * bytes / kDiskBytesPerSecond);
  }
  for (const auto& callback : parts_.callbacks) callback->step_ends(view(), record);
  const bool goes_on = parts_.governor.step_done(figures, parts_.accounts.run_joules().value_or(0),
                                                 settings_.steps - step_);
  budget_spent_ = !goes_on && !parts_.governor.failure();
}

/// The step itself, followed through the kinds of layers now and then.
StepOutcome TrainingLoop::run_step(double lr) {
  const IndexRange mine = parts_.loader.plan().micro_batches_of(parts_.exchange.rank());
  LayerTimer timer;
  const int64_t every = settings_.train.trace_every;
  const bool traced = every > 0 && (step_ - first_step_) % every == 0;
  const StepOutcome outcome = parts_.step.run(
      {step_, mine.first, mine.count, parts_.loader.plan().micro_batches(),
       traced ? &timer : nullptr},
      [&](int64_t i) { return parts_.loader.micro_batch(step_, mine.first + i); }, lr,
      parts_.stop_requested());
  if (traced) {
    for (Phase phase : {Phase::kForward, Phase::kBackward}) {
      parts_.energy.set_layer_shares(phase, timer.shares(phase));
    }
  }
  return outcome;
}

void TrainingLoop::check_finite(const StepOutcome& outcome) {
  if (outcome.finite) {
    skipped_in_a_row_ = 0;
    return;
  }
  std::string what =
      fmt::format("step {}: loss {}, gradient norm {}", step_ + 1, outcome.loss, outcome.grad_norm);
  const std::string complaint = parts_.state.parameters.complaint();
  if (!complaint.empty()) what += fmt::format(" ({})", complaint);
  if (settings_.train.on_non_finite == TrainOptions::NonFinite::kError) {
    throw Error(ErrorCode::kNonFinite,
                what +
                    ": not finite; the update was not made. A lower optimizer.lr or "
                    "train.grad_clip may help; train.on_non_finite: skip leaves such updates out");
  }
  if (++skipped_in_a_row_ > settings_.train.max_skipped_steps) {
    throw Error(ErrorCode::kNonFinite, fmt::format("{}: not finite, as in {} steps before it", what,
                                                   skipped_in_a_row_ - 1));
  }
  if (parts_.progress) parts_.progress->note(what + ": not finite; the update is left out");
}

MetricsRecord TrainingLoop::record_of(const StepOutcome& outcome, const SharedFigures& figures,
                                      double lr) const {
  const auto samples = static_cast<double>(settings_.train.global_batch);
  MetricsRecord r;
  r.attempt = settings_.attempt;
  r.step = step_;
  r.loss = outcome.loss;
  r.lr = lr;
  r.grad_norm = outcome.grad_norm;
  r.step_seconds = figures.step_seconds;
  r.samples_per_s = samples / figures.step_seconds;
  if (settings_.tokens_per_sample > 0) {
    r.tokens = settings_.train.global_batch * settings_.tokens_per_sample;
    r.tokens_per_s = static_cast<double>(*r.tokens) / figures.step_seconds;
  }
  if (settings_.flops_per_sample > 0 && settings_.matmul_rate > 0) {
    r.mfu = *r.samples_per_s * settings_.flops_per_sample / settings_.matmul_rate;
  }
  r.energy_joules = figures.joules;
  r.energy_joules_total = parts_.accounts.training_joules();
  r.run_energy_joules = parts_.accounts.run_joules();
  if (figures.joules) r.power_watts = *figures.joules / figures.step_seconds;
  r.energy_source = parts_.accounts.source();
  r.peak_memory_bytes = figures.peak_memory_bytes;
  r.skipped = !outcome.finite;
  return r;
}

void TrainingLoop::publish(const MetricsRecord& record) {
  if (parts_.metrics) parts_.metrics->append(record);
}

void TrainingLoop::show(const MetricsRecord& record) {
  if (!parts_.progress) return;
  ProgressStatus status;
  status.step = step_;
  status.steps = settings_.steps;
  status.loss = *record.loss;
  status.rate = record.tokens_per_s.value_or(*record.samples_per_s);
  status.rate_unit = record.tokens_per_s ? "tok/s" : "samples/s";
  status.power_watts = record.power_watts;
  status.energy_joules = record.run_energy_joules;
  status.energy_is_estimated = parts_.accounts.is_estimated();
  status.seconds_left = seconds_trained_ / static_cast<double>(step_ - first_step_) *
                        static_cast<double>(settings_.steps - step_);
  parts_.progress->update(status);
}

/// None if it does not fit into the budget, or no longer does once it runs.
std::optional<Evaluation> TrainingLoop::run_evaluation() {
  const double share = static_cast<double>(parts_.evaluator->samples()) /
                       static_cast<double>(settings_.train.global_batch);
  if (!fits(evaluation_joules_.value_or(kForwardShare * share * parts_.governor.step_joules()))) {
    return std::nullopt;
  }
  parts_.accounts.settle();
  const double before = parts_.accounts.run_joules().value_or(0);
  std::function<bool()> watch;
  if (is_limited()) watch = [this] { return book_between_steps(); };
  const std::optional<Evaluation> evaluation = parts_.evaluator->run(watch);
  parts_.accounts.settle();
  const double joules = parts_.accounts.run_joules().value_or(0) - before;
  evaluation_joules_ = std::max(evaluation_joules_.value_or(0), joules);
  return evaluation;
}

void TrainingLoop::tell_gaps(const SharedFigures& figures) {
  if (figures.joules || parts_.accounts.source() == "unavailable") return;
  const std::string gaps = parts_.accounts.new_gaps();
  if (gaps.empty() || !parts_.progress) return;
  parts_.progress->note("energy: joules are missing from here on: " + gaps);
}

void TrainingLoop::evaluate() {
  if (!parts_.evaluator) return;
  const auto begin = std::chrono::steady_clock::now();
  const std::optional<Evaluation> found = run_evaluation();
  if (!found) {
    budget_spent_ = !parts_.governor.failure();
    if (budget_spent_ && parts_.progress) {
      parts_.progress->note(fmt::format(
          "evaluation after step {}: left out: it does not fit into the energy budget", step_));
    }
    return;
  }
  evaluation_ = found;
  evaluated_step_ = step_;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  const MetricsRecord record = record_of(*found, seconds.count());
  publish(record);
  show(record, found->scored);
  for (const auto& callback : parts_.callbacks) {
    early_end_ |= callback->evaluation_ends(view(), record);
  }
}

MetricsRecord TrainingLoop::record_of(const Evaluation& evaluation, double seconds) const {
  MetricsRecord r = record_between_steps("evaluate");
  r.step_seconds = seconds;
  r.eval_loss = evaluation.loss;
  if (settings_.tokens_per_sample > 0) {
    r.perplexity = evaluation.perplexity();
  } else {
    r.accuracy = evaluation.accuracy;
  }
  return r;
}

MetricsRecord TrainingLoop::record_between_steps(const char* phase) const {
  MetricsRecord r;
  r.phase = phase;
  r.attempt = settings_.attempt;
  r.step = step_;
  r.run_energy_joules = parts_.accounts.run_joules();
  r.energy_source = parts_.accounts.source();
  r.peak_memory_bytes = peak_memory_bytes();
  return r;
}

void TrainingLoop::show(const MetricsRecord& evaluation, int64_t scored) {
  if (!parts_.progress) return;
  std::string figures = fmt::format("loss {:.4f}", *evaluation.eval_loss);
  if (evaluation.perplexity) figures += fmt::format(", perplexity {:.3f}", *evaluation.perplexity);
  if (evaluation.accuracy)
    figures += fmt::format(", accuracy {:.2f} %", 100 * *evaluation.accuracy);
  parts_.progress->note(fmt::format("evaluation after step {}: {} ({} {})", step_, figures, scored,
                                    settings_.tokens_per_sample > 0 ? "tokens" : "samples"));
}

StreamHash TrainingLoop::consumed() {
  // Integers of 64 bits pass through doubles as their bits.
  const auto& lanes = parts_.loader.consumed().lanes();
  const std::array<double, 2> mine = {std::bit_cast<double>(lanes[0]),
                                      std::bit_cast<double>(lanes[1])};
  StreamHash sum;
  for (const std::vector<double>& row : parts_.exchange.gather(mine)) {
    sum.add(StreamHash({std::bit_cast<int64_t>(row[0]), std::bit_cast<int64_t>(row[1])}));
  }
  return sum;
}

void TrainingLoop::save() {
  finish_checkpoint();
  parts_.accounts.settle();
  const PhaseWindow window = parts_.energy.window(Phase::kCheckpoint);
  CheckpointMeta meta;
  meta.step = step_;
  meta.samples = step_ * settings_.train.global_batch;
  const StreamHash stream = consumed();
  meta.stream_hash = stream.hex();
  meta.seed = settings_.seed;
  meta.attempt = settings_.attempt;
  meta.sections = settings_.checkpoint_sections;
  meta.sections["stream_lanes"] = fmt::format("[{}, {}]", stream.lanes()[0], stream.lanes()[1]);
  meta.sections["energy"] = parts_.accounts.ledger().serialize();
  meta.sections["training_joules"] =
      fmt::format("{}", parts_.accounts.training_joules().value_or(0));
  if (settings_.training_is_done) meta.sections[kTrainingIsDone] = "true";
  for (const auto& callback : parts_.callbacks) {
    if (!callback->name().empty()) meta.sections[callback->name()] = callback->save_state();
  }
  const FlatRange share = even_share(parts_.state.parameters.layout().numel, parts_.exchange.rank(),
                                     parts_.exchange.size());
  parts_.checkpointer.begin(meta, slices_to_save(parts_.state, share));
  saved_step_ = step_;
  parts_.governor.checkpoint_done(parts_.accounts.settle());  // the copy; its writing goes on
  note_energy();
}

void TrainingLoop::note_energy() { publish(record_between_steps("energy")); }

void TrainingLoop::settle_checkpoint(WriteState least) { parts_.checkpointer.settle(least); }

/// Until the checkpoint has its name, or has none and says why.
void TrainingLoop::finish_checkpoint() {
  WriteState least = WriteState::kIdle;
  do {
    parts_.checkpointer.finish();
    auto state = static_cast<double>(parts_.checkpointer.state());
    for (const std::vector<double>& row : parts_.exchange.gather({&state, 1})) {
      state = std::min(state, row.front());
    }
    least = static_cast<WriteState>(static_cast<int>(state));
    settle_checkpoint(least);
  } while (least != WriteState::kIdle);
}

void TrainingLoop::record_event(const std::string& event) {
  MetricsRecord r = record_between_steps("compression");
  r.event = event;
  publish(r);
  if (parts_.progress) parts_.progress->note(fmt::format("after step {}: {}", step_, event));
}

TrainingView TrainingLoop::view() {
  int64_t changes = 0;
  for (const auto& callback : parts_.callbacks) changes += callback->model_changes();
  return {parts_.model,
          parts_.state.parameters,
          step_,
          settings_.steps,
          parts_.exchange.rank(),
          parts_.exchange.size(),
          changes,
          [this](const std::string& event) { record_event(event); }};
}

}  // namespace wattle
