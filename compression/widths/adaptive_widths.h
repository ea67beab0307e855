#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/run/metrics.h"
#include "compression/quantize/weight_quantizer.h"
#include "compression/widths/choose_widths.h"
#include "compression/widths/gradient_noise.h"
#include "compression/widths/width_options.h"
#include "trainer/callback.h"

namespace wattle {

/// A weight and the formats that it may have.
struct AdaptableWeight {
  int64_t index = 0;  ///< of the parameter
  std::string parameter;
  std::vector<std::shared_ptr<const WeightFormat>> formats;
};

/// That a weight got another format while the model trained.
struct WidthChange {
  int64_t step = 0;  ///< steps done
  std::string parameter;
  std::string from, to;
  double noise_scale = 0;  ///< of its gradient, in global batches; infinite where no mean is left
};

/// Of the choices of each weight and the present ones: others, if those are to be taken. They are
/// the best within the budget (choose_widths()) and are taken where the present ones exceed it or
/// add more than 1 / (1 - margin) times as much to the loss.
std::optional<std::vector<size_t>> better_widths(
    const std::vector<std::vector<WidthChoice>>& choices, const std::vector<size_t>& present,
    int64_t budget_bytes, double margin);

/// How much of a budget of joules is left for what is still to be done, in eighths from 1 to 8:
/// floor(8 * (budget - spent) / needed), 8 if it all fits.
int64_t affordable_eighths(double budget_joules, double spent_joules, double needed_joules);

/// Changes the formats of weights while a model trains.
///
/// Every `every` steps the increase of the loss that each format would bring is estimated anew for
/// each weight: with d the error of rounding its n values, by its observer or the format's own rule
/// alike for all formats (no other has scales that were learned),
///
///   1/2 * tr(cov(g)) / n * |d|^2,
///
/// the empirical Fisher information in place of the curvature, as FIT does it (Zandonati et al.
/// 2023, arXiv:2210.08502), measured as the noise of the weight's gradient (GradientNoise). It is
/// that of the global batch's gradient, so that all estimates share one unknown factor, the batch's
/// size. Then better_widths() chooses. The budget is that of the widths, times affordable_eighths()
/// / 8 where the run has a budget of joules that what it has spent and what it is still going to
/// spend, at the mean of the window's steps, exceed.
///
/// What it decides is the same on every rank, and on any number of ranks if gradients are
/// (run.deterministic). Joules are measured, so that what they lead to may differ between two runs.
class AdaptiveWidths {
 public:
  /// `name` is the entry's. `parameters`: the model's. `options.adapt` is set.
  AdaptiveWidths(const std::string& name, const WidthOptions& options,
                 std::vector<AdaptableWeight> weights, const std::vector<Parameter*>& parameters,
                 std::optional<double> budget_joules);

  /// To be put into the chain of transforms for as long as weights are rounded.
  GradientNoise& noise() { return noise_; }

  void step_ends(const MetricsRecord& record);

  /// At the begin of a step: where a window ends, gives weights other formats, whose fixed scales
  /// are dropped, and begins the next window. Returns what changed. Publish afterwards.
  std::vector<WidthChange> step_begins(const TrainingView& view, WeightQuantizer& quantizer);

  /// The eighths of the budget that the widths may take at present.
  int64_t eighths() const { return eighths_; }
  const std::vector<WidthChange>& changes() const { return changes_; }

  /// The changes.
  nlohmann::json save() const;
  void load(const nlohmann::json& state);
  /// What it knows of joules, which a run that goes on decides by.
  nlohmann::json save_energy() const;
  void load_energy(const nlohmann::json& state);

 private:
  void follow_budget(const TrainingView& view);
  std::vector<std::vector<WidthChoice>> choices_of(const TrainingView& view,
                                                   const WeightQuantizer& quantizer) const;

  WidthOptions options_;
  std::vector<AdaptableWeight> weights_;
  GradientNoise noise_;
  std::optional<double> budget_joules_;
  double spent_joules_ = 0;   ///< of the run
  double window_joules_ = 0;  ///< of the window's steps
  int64_t window_steps_ = 0;  ///< whose joules are known
  int64_t eighths_ = 8;
  std::vector<WidthChange> changes_;
};

}  // namespace wattle
