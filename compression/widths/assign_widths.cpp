#include "compression/widths/assign_widths.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/error.h"
#include "compression/ranges/weight_ranges.h"
#include "compression/widths/choose_widths.h"
#include "compression/widths/loss_probe.h"
#include "trainer/nn/layers/norm_fold.h"

namespace wattle {
namespace {

const Parameter& parameter_named(const Model& model, const std::string& name) {
  return **std::ranges::find_if(model.parameters,
                                [&](const Parameter* p) { return p->name() == name; });
}

/// The formats that a weight could have, not yet tried.
std::vector<WidthReading> candidates(const WeightTarget& target, at::IntArrayRef shape,
                                     const QuantizeOptions& options) {
  std::vector<WidthReading> readings;
  for (const auto& format : width_formats(target, shape, options)) {
    readings.push_back({.format = format, .bytes = format->bytes_of(shape)});
  }
  return readings;
}

void try_formats(const WeightTarget& target, at::Tensor value, LossProbe& probe, double float_loss,
                 std::vector<WidthReading>& readings) {
  const at::Tensor kept = value.clone();
  const at::Tensor factor = target.norm ? fold_factor(*target.norm) : at::Tensor();
  for (WidthReading& reading : readings) {
    reading.loss_increase = std::numeric_limits<double>::infinity();
    if (target.norm) multiply_channels(value, factor);
    if (try_to_round(*reading.format, target.observer, value)) {
      if (target.norm) divide_channels(value, factor, kept);
      const LossReading found = probe.read();
      if (std::isfinite(found.loss)) reading.loss_increase = found.loss - float_loss;
      reading.divergence = found.divergence;
    }
    value.copy_(kept);
  }
}

}  // namespace

std::vector<std::shared_ptr<const WeightFormat>> width_formats(const WeightTarget& target,
                                                               at::IntArrayRef shape,
                                                               const QuantizeOptions& options) {
  std::vector<std::shared_ptr<const WeightFormat>> formats;
  if (target.format->name() == format_name(options)) {
    for (const std::string& name : options.widths->formats) {
      formats.push_back(make_weight_format(name));
    }
    std::erase_if(formats, [&](const auto& format) { return !format->refusal(shape).empty(); });
  }
  if (formats.empty()) formats.push_back(target.format);
  return formats;
}

std::string widths_refusal(const std::vector<WeightTarget>& targets, const Model& model,
                           const QuantizeOptions& options) {
  int64_t least = 0;
  for (const WeightTarget& target : targets) {
    const auto readings =
        candidates(target, parameter_named(model, target.parameter).value().sizes(), options);
    least += std::ranges::min_element(readings, {}, &WidthReading::bytes)->bytes;
  }
  if (least <= options.widths->in_bytes().budget_bytes.value()) return "";
  return fmt::format("the budget is {}, but the smallest formats take {} ({} bytes)",
                     options.widths->budget(), options.widths->cost_of(least), least);
}

std::vector<WidthAssignment> assign_widths(Model& model, const std::vector<WeightTarget>& targets,
                                           const QuantizeOptions& options,
                                           const CalibrationSet& calibration) {
  const at::AutoGradMode no_grad(false);
  LossProbe probe(model, calibration, options.widths->samples);
  probe.set_reference();
  const double float_loss = probe.read().loss;
  if (!std::isfinite(float_loss)) {
    throw Error(ErrorCode::kNonFinite,
                "widths: the loss on the calibration samples is not finite before any rounding");
  }
  std::vector<WidthAssignment> assignments;
  std::vector<std::vector<WidthChoice>> choices;
  for (const WeightTarget& target : targets) {
    const at::Tensor value = parameter_named(model, target.parameter).value().detach();
    WidthAssignment assignment{target.parameter, candidates(target, value.sizes(), options)};
    try_formats(target, value, probe, float_loss, assignment.readings);
    choices.emplace_back();
    for (const WidthReading& reading : assignment.readings) {
      choices.back().push_back({reading.bytes, reading.loss_increase});
    }
    assignments.push_back(std::move(assignment));
  }
  const int64_t budget_bytes = options.widths->in_bytes().budget_bytes.value();
  const std::vector<size_t> chosen = choose_widths(choices, budget_bytes);
  for (size_t i = 0; i < chosen.size(); ++i) assignments[i].chosen = chosen[i];
  return assignments;
}

}  // namespace wattle
