#include "energy/limits/power_capper.h"

#include <algorithm>

namespace wattle {
namespace {

constexpr double kSliceSeconds = 0.1;
constexpr double kThrottleTo = 0.85;
/// The farthest that throttling goes: a tenth of the way from the floor to what is drawn.
constexpr double kLeastShare = 0.1;
/// How often the GPUs' share of the cap is fitted to what the rest of the machine draws.
constexpr double kFitSeconds = 5;
constexpr double kNewest = 0.3;
/// One pause may have been disturbed by whoever still worked.
constexpr int kPausesToJudge = 3;

}  // namespace

PowerCapper::PowerCapper(double floor_watts, Clock& clock, std::unique_ptr<GpuPowerLimits> limits,
                         size_t run_gpus, double busy_watts)
    : known_floor_watts_(floor_watts),
      floor_watts_(floor_watts),
      clock_(clock),
      limits_(std::move(limits)),
      run_gpus_(run_gpus),
      busy_watts_(busy_watts) {}

void PowerCapper::set_cap(std::optional<double> watts) {
  if (!watts) {
    pacer_.reset();
    if (limits_) limits_->restore();
    return;
  }
  if (pacer_) {
    PowerPacer pacer = *pacer_;
    pacer.set_floor(floor_watts_);
    pacer.set_cap(*watts);
    pacer_ = pacer;
  } else {
    pacer_.emplace(*watts, floor_watts_);
    if (busy_watts_ > 0) pacer_->expect_work(busy_watts_);
    if (has_seen_) pacer_->observe(seen_seconds_, seen_.all);
  }
  update_limits();
}

std::optional<double> PowerCapper::cap_watts() const {
  if (!pacer_) return std::nullopt;
  return pacer_->cap_watts();
}

double PowerCapper::throttle() {
  const double drawn = pacer_ ? std::min(run_watts_, pacer_->cap_watts()) : run_watts_;
  const double least = floor_watts_ + kLeastShare * std::max(1.0, drawn - floor_watts_);
  set_cap(std::max(least, kThrottleTo * drawn));
  return pacer_->cap_watts();
}

void PowerCapper::pause_seen(double watts) {
  least_pause_watts_ = pauses_seen_ == 0 ? watts : std::min(least_pause_watts_, watts);
  if (++pauses_seen_ < kPausesToJudge) return;
  floor_watts_ = std::max(known_floor_watts_, least_pause_watts_);
  if (pacer_ && can_hold()) pacer_->set_floor(floor_watts_);
}

void PowerCapper::step_done(const RunJoules& joules) {
  const double now = clock_.now_seconds();
  const double interval = now - seen_seconds_;
  if (has_seen_ && interval > 0) {
    const double all = std::max(0.0, joules.all - seen_.all) / interval;
    const double others = std::clamp(all - (joules.gpus - seen_.gpus) / interval, 0.0, all);
    run_watts_ = run_watts_ > 0 ? kNewest * all + (1 - kNewest) * run_watts_ : all;
    other_watts_ = other_watts_ > 0 ? kNewest * others + (1 - kNewest) * other_watts_ : others;
  }
  has_seen_ = true;
  seen_ = joules;
  seen_seconds_ = now;
  if (!pacer_) return;
  pacer_->observe(now, joules.all);
  if (limits_ && now - limits_set_seconds_ > kFitSeconds) update_limits();
}

void PowerCapper::update_limits() {
  if (!limits_ || !pacer_ || run_gpus_ == 0) return;
  limits_->set_watts((pacer_->cap_watts() - other_watts_) / static_cast<double>(run_gpus_));
  limits_set_seconds_ = clock_.now_seconds();
}

double PowerCapper::pace(const std::function<bool()>& is_stopping) {
  if (!pacer_) return 0;
  const double began = clock_.now_seconds();
  const double until = began + pacer_->pause_seconds(began);
  double now = began;
  while (now < until && !is_stopping()) {
    clock_.sleep_for(std::min(kSliceSeconds, until - now));
    now = clock_.now_seconds();
  }
  if (now > began) pacer_->paused(began, now);
  return now - began;
}

}  // namespace wattle
