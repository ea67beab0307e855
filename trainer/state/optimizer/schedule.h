#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace wattle {

class Checker;
class Fields;

enum class ScheduleKind { kConstant, kCosine, kLinear, kWarmupStableDecay };

/// `optimizer.schedule` of the YAML file.
struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::kConstant;
  int64_t warmup_steps = 0;
  double final_ratio = 0.1;            ///< of the learning rate at the last step; not for constant
  std::optional<int64_t> decay_steps;  ///< of wsd; a fifth of all steps unless given

  void describe(Fields& f);

  /// For the owner of `train.steps`, which this section doesn't know: warns at the given keys below
  /// `prefix` ("optimizer.schedule.") of a warm-up or a decay that lies past the last step.
  void check_against(int64_t total_steps, const std::string& prefix, Checker& checker) const;
};

/// The learning rate as a pure function of the step, so that nothing of it needs to be saved.
///
/// It rises linearly over the warm-up, step s having peak * (s + 1) / warmup_steps, and then
///   constant  stays
///   cosine    falls as half a cosine to final_ratio * peak at the end
///   linear    falls linearly to it
///   wsd       stays, and falls in the last decay_steps as 1 - sqrt(t) (Hägele et al. 2024,
///             arXiv:2405.18392)
class LearningRateSchedule {
 public:
  LearningRateSchedule(const ScheduleOptions& options, double peak, int64_t total_steps);

  /// `step` counts from 0. Past the last step it stays what it was there.
  double at(int64_t step) const;

 private:
  double decayed(double progress) const;

  ScheduleKind kind_;
  double peak_;
  double final_;
  int64_t warmup_end_;
  int64_t decay_begin_;
  int64_t decay_end_;
};

}  // namespace wattle
