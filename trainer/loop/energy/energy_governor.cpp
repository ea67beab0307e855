#include "trainer/loop/energy/energy_governor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "energy/limits/gpu_power_limits.h"

namespace wattle {
namespace {

// Orders of rank 0, as figures of the exchange: nothing, no cap any more, or a cap in watts.
constexpr double kNoOrder = 0;
constexpr double kLiftCap = -1;
/// A meter that answers again within this time leaves the limits in force.
constexpr double kDeadSeconds = 1;
/// Pauses that are shorter, taken together, say little about what is drawn meanwhile.
constexpr double kPauseToShare = 1;

double sum_over_ranks(FiguresExchange& exchange, double mine) {
  double sum = 0;
  for (const std::vector<double>& row : exchange.gather({&mine, 1})) sum += row.front();
  return sum;
}

/// This rank's GPUs' limits for a cap, or none: power is then held by pauses.
std::unique_ptr<GpuPowerLimits> limits_for_cap(const EnergyOptions& options,
                                               const EnergyGovernor::Parts& parts) {
  const bool throttles = options.on_exceeded == OnExceeded::kThrottle;
  if (!options.power_cap_watts && !throttles) return nullptr;
  if (options.tune_power_limit != TuneObjective::kOff) return nullptr;
  std::string note;
  auto limits = find_power_limits(parts.energy.devices(), parts.guardian, note);
  if (!limits && throttles) note += "; throttling by pauses saves no energy by itself";
  parts.say("power cap: " + (limits ? "by GPU power limits, and by pauses" : note));
  return limits;
}

PowerCapper make_capper(const EnergyOptions& options, const EnergyGovernor::Parts& parts) {
  auto limits = limits_for_cap(options, parts);
  const double gpus =
      sum_over_ranks(parts.exchange, limits ? static_cast<double>(limits->devices()) : 0.0);
  const double floor = sum_over_ranks(parts.exchange, parts.energy.idle_watts());
  const double busy = sum_over_ranks(parts.exchange, parts.energy.busy_watts());
  return PowerCapper(floor, parts.clock, std::move(limits), static_cast<size_t>(gpus), busy);
}

}  // namespace

EnergyGovernor::EnergyGovernor(const EnergyOptions& options, const std::string& output_dir,
                               Parts parts)
    : parts_(std::move(parts)),
      capper_(make_capper(options, parts_)),
      configured_cap_watts_(options.power_cap_watts) {
  const double devices =
      sum_over_ranks(parts_.exchange, static_cast<double>(parts_.energy.devices().size()));
  if (devices == 0 && (options.budget_joules || options.power_cap_watts)) {
    throw Error(ErrorCode::kConfig,
                "energy: a budget or a cap needs figures, but no rank has a meter or a model");
  }
  if (options.budget_joules) budget_.emplace(*options.budget_joules, options.on_exceeded);
  capper_.set_cap(options.power_cap_watts);
  if (parts_.exchange.rank() == 0) control_.emplace(output_dir + "/control.json");
  if (options.tune_power_limit != TuneObjective::kOff) start_tuning(options);
}

void EnergyGovernor::start_tuning(const EnergyOptions& options) {
  if (options.power_cap_watts) {
    throw Error(ErrorCode::kConfig,
                "energy.tune_power_limit: goes with no power_cap_watts; both set the same limit");
  }
  std::string note;
  tuned_limits_ = find_power_limits(parts_.energy.devices(), parts_.guardian, note);
  const double gpus = sum_over_ranks(
      parts_.exchange, tuned_limits_ ? static_cast<double>(tuned_limits_->devices()) : 0.0);
  if (gpus == 0) {
    throw Error(ErrorCode::kConfig, "energy.tune_power_limit: no GPU power limit to tune: " + note);
  }
  const std::array<double, 2> mine = {
      tuned_limits_ ? tuned_limits_->least_watts() : 0.0,
      tuned_limits_ ? tuned_limits_->most_watts() : std::numeric_limits<double>::infinity()};
  double least = 0, most = std::numeric_limits<double>::infinity();
  for (const std::vector<double>& row : parts_.exchange.gather(mine)) {
    least = std::max(least, row[0]);
    most = std::min(most, row[1]);
  }
  tuner_.emplace(options, limits_between(least, most, options.tune_stride_watts), most * gpus);
  if (tuned_limits_) tuned_limits_->set_watts(tuner_->limit_watts());
}

RankWord EnergyGovernor::word() {
  RankWord word;
  word.order = order();
  if (pause_seconds_ >= kPauseToShare) {
    word.pause_seconds = pause_seconds_;
    word.pause_joules = pause_joules_;
  }
  return word;
}

double EnergyGovernor::order() {
  if (!control_) return kNoOrder;
  try {
    if (const std::optional<Control> control = control_->poll()) {
      return control->power_cap_watts.value_or(kLiftCap);
    }
  } catch (const Error& e) {
    parts_.say(std::string(e.what()) + "; the cap stays as it was");
  }
  return kNoOrder;
}

void EnergyGovernor::apply_order(double order) {
  if (order == kNoOrder) return;
  const std::optional<double> cap = order == kLiftCap ? std::nullopt : std::optional(order);
  if (cap && tuner_) {
    parts_.say("control.json: the power limit is being tuned; the cap is left out");
    return;
  }
  try {
    capper_.set_cap(cap);
    parts_.say(cap ? fmt::format("control.json: power cap {} W", *cap)
                   : std::string("control.json: no power cap"));
  } catch (const Error& e) {
    parts_.say(fmt::format("control.json: {}; the cap stays as it was", e.what()));
  }
}

void EnergyGovernor::tune(const SharedFigures& figures) {
  if (!tuner_ || tuner_->is_done() || !figures.joules) return;  // a gap says nothing
  tuner_->step_done(figures.step_seconds, figures.gpu_joules);
  if (tuned_limits_) tuned_limits_->set_watts(tuner_->limit_watts());
  if (tuner_->is_done()) {
    parts_.say(fmt::format("power limit tuned: {:.0f} W a GPU", tuner_->limit_watts()));
  }
}

void EnergyGovernor::observe(const SharedFigures& figures, double run_joules) {
  apply_order(figures.order);
  gpu_joules_ += figures.gpu_joules;
  capper_.step_done({run_joules, gpu_joules_});
  if (figures.pause_watts) {
    pause_seconds_ = pause_joules_ = 0;
    capper_.pause_seen(*figures.pause_watts);
    check_cap();
  }
  if (figures.dead_seconds > kDeadSeconds && is_limited()) {
    fail_for_dead_meter();
  }
}

void EnergyGovernor::fail_for_dead_meter() {
  std::string meters;
  for (const std::string& why : parts_.exchange.gather_texts(parts_.energy.gaps().why)) {
    meters += (meters.empty() || why.empty() ? "" : "; ") + why;
  }
  failure_.emplace(ErrorCode::kIo, fmt::format("energy: {}: without this meter no budget and no "
                                               "cap can be kept; a checkpoint is saved",
                                               meters));
}

/// Gives up a cap that is below what turned out to be drawn without work.
void EnergyGovernor::check_cap() {
  if (capper_.can_hold()) return;
  const double cap = *capper_.cap_watts();
  const std::string what =
      fmt::format("power cap {:.6g} W: can't be held: {:.4g} W are drawn in pauses", cap,
                  capper_.floor_watts());
  if (configured_cap_watts_ && cap >= *configured_cap_watts_) {
    failure_.emplace(ErrorCode::kConfig, "energy.power_cap_watts: " + what);
    return;
  }
  parts_.say(what +
             (configured_cap_watts_ ? "; the configured one is in force again" : "; it is lifted"));
  try {
    capper_.set_cap(configured_cap_watts_);
  } catch (const Error& e) {
    failure_ = e;
  }
}

bool EnergyGovernor::batch_done(const SharedFigures& figures, double run_joules) {
  observe(figures, run_joules);
  return !failure_ && allows(run_joules, figures.joules.value_or(0));
}

bool EnergyGovernor::step_done(const SharedFigures& figures, double run_joules,
                               int64_t steps_left) {
  observe(figures, run_joules);
  if (failure_) return false;
  tune(figures);
  if (!budget_) return true;
  if (figures.joules) budget_->step_done(*figures.joules);
  switch (budget_->decide(run_joules, steps_left)) {
    case BudgetDecision::kContinue:
      return true;
    case BudgetDecision::kThrottle:
      parts_.say(fmt::format("energy budget: the rest does not fit at this power; cap {:.0f} W",
                             capper_.throttle()));
      return true;
    case BudgetDecision::kStop:
      return steps_left == 0;
  }
  throw Error(ErrorCode::kInternal, "energy budget: unknown decision");
}

bool EnergyGovernor::allows(double run_joules, double joules) const {
  return !budget_ || run_joules + joules + budget_->checkpoint_joules() <= budget_->budget_joules();
}

void EnergyGovernor::expect_checkpoint(double joules) {
  if (budget_) budget_->expect_checkpoint(joules);
}

void EnergyGovernor::checkpoint_done(double joules) {
  if (budget_) budget_->checkpoint_done(joules);
}

void EnergyGovernor::pace() {
  if (!capper_.cap_watts()) return;
  const PhaseWindow window = parts_.energy.window(Phase::kOther);
  const double before = parts_.energy.joules_now();
  pause_seconds_ += capper_.pace(parts_.stop_requested);
  pause_joules_ += parts_.energy.joules_now() - before;
}

std::string EnergyGovernor::budget_text(double run_joules) const {
  if (!budget_) return "";
  return fmt::format("energy budget {:.6g} J: {:.6g} J used", budget_->budget_joules(), run_joules);
}

}  // namespace wattle
