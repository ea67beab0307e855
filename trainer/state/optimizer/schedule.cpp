#include "trainer/state/optimizer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/config/schema.h"

namespace wattle {

void ScheduleOptions::describe(Fields& f) {
  f.choice(
      "kind", kind,
      {{"constant", ScheduleKind::kConstant},
       {"cosine", ScheduleKind::kCosine},
       {"linear", ScheduleKind::kLinear},
       {"wsd", ScheduleKind::kWarmupStableDecay}},
      "how the learning rate falls after the warm-up; wsd stays up until the last decay_steps");
  f("warmup_steps", warmup_steps, "the learning rate rises linearly over these").at_least(0);
  f("final_ratio", final_ratio, "learning rate at the last step, relative to `lr`")
      .at_least(0)
      .at_most(1);
  f("decay_steps", decay_steps, "length of the fall at the end of wsd")
      .at_least(1)
      .default_is("a fifth of all steps");
  f.check([this](Checker& c) {
    c.require(!decay_steps || kind == ScheduleKind::kWarmupStableDecay, "decay_steps",
              "only the schedule wsd has a decay of its own length");
    c.require(!c.given("final_ratio") || kind != ScheduleKind::kConstant, "final_ratio",
              "the constant schedule does not fall");
  });
}

void ScheduleOptions::check_against(int64_t total_steps, const std::string& prefix,
                                    Checker& checker) const {
  if (warmup_steps > total_steps) {
    checker.warn(prefix + "warmup_steps", "the warm-up of " + std::to_string(warmup_steps) +
                                              " steps lies past the last step, " +
                                              std::to_string(total_steps));
  }
  if (decay_steps && warmup_steps + *decay_steps > total_steps) {
    checker.warn(prefix + "decay_steps", "warm-up and decay are longer than all " +
                                             std::to_string(total_steps) +
                                             " steps: the decay begins within the warm-up");
  }
}

LearningRateSchedule::LearningRateSchedule(const ScheduleOptions& options, double peak,
                                           int64_t total_steps)
    : kind_(options.kind),
      peak_(peak),
      final_(peak * options.final_ratio),
      warmup_end_(options.warmup_steps),
      decay_begin_(options.warmup_steps),
      decay_end_(total_steps - 1) {
  if (kind_ == ScheduleKind::kWarmupStableDecay) {
    const int64_t length = options.decay_steps.value_or(std::max<int64_t>(1, total_steps / 5));
    decay_begin_ = std::max(decay_begin_, total_steps - length);
  }
}

double LearningRateSchedule::at(int64_t step) const {
  if (step < warmup_end_) return peak_ * static_cast<double>(step + 1) / warmup_end_;
  if (kind_ == ScheduleKind::kConstant || step < decay_begin_) return peak_;
  const int64_t length = decay_end_ - decay_begin_;
  const double progress =
      length > 0 ? std::min(1.0, static_cast<double>(step - decay_begin_) / length) : 1.0;
  return final_ + decayed(progress) * (peak_ - final_);
}

double LearningRateSchedule::decayed(double progress) const {
  switch (kind_) {
    case ScheduleKind::kCosine:
      return 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
    case ScheduleKind::kWarmupStableDecay:
      return 1.0 - std::sqrt(progress);
    default:
      return 1.0 - progress;
  }
}

}  // namespace wattle
