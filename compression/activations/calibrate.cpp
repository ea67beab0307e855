#include "compression/activations/calibrate.h"

#include <c10/core/GradMode.h>

#include <algorithm>

namespace wattle {

void calibrate(Model& model, std::span<ActivationQuantizer* const> quantizers,
               const CalibrationSet& calibration, int64_t samples) {
  const at::AutoGradMode no_grad(false);
  std::vector<std::vector<RangeStatistics>> seen(calibration.batches(samples));
  for (auto& batch : seen) {
    for (ActivationQuantizer* quantizer : quantizers) batch.push_back(quantizer->batch());
  }
  for (ActivationQuantizer* quantizer : quantizers) quantizer->set_observing(true);
  calibration.each_of_mine(samples, [&](int64_t index, const Batch& batch) {
    model.forward(batch.inputs, ForwardContext{});
    for (size_t q = 0; q < quantizers.size(); ++q) {
      std::swap(quantizers[q]->batch(), seen[index][q]);
    }
  });
  for (ActivationQuantizer* quantizer : quantizers) quantizer->set_observing(false);
  std::vector<RangeStatistics*> all;
  for (auto& batch : seen) {
    for (RangeStatistics& statistics : batch) all.push_back(&statistics);
  }
  all_reduce(all, calibration.ranks());
  for (auto& batch : seen) {
    for (size_t q = 0; q < quantizers.size(); ++q) {
      quantizers[q]->batch() = std::move(batch[q]);
      quantizers[q]->batch_ends(true, {});
    }
  }
}

HookedActivations::HookedActivations(Model& model, const ActivationQuantizers& quantizers) {
  for (const auto& quantizer : quantizers) {
    ActivationPoint* point = *std::ranges::find(model.activations, quantizer->point(),
                                                [](const ActivationPoint* p) { return p->name(); });
    before_.emplace_back(point, point->hook());
    point->set_hook(quantizer.get());
  }
}

HookedActivations::~HookedActivations() {
  for (const auto& [point, hook] : before_) point->set_hook(hook);
}

ActivationQuantizers calibrated_activations(Model& model, const std::vector<ActivationSite>& sites,
                                            const CalibrationSet& calibration, int64_t samples) {
  ActivationQuantizers quantizers;
  for (const ActivationSite& site : sites) {
    ActivationSettings settings = site.settings;
    settings.learns_ends = false;
    quantizers.push_back(std::make_unique<ActivationQuantizer>(site.name, settings));
  }
  if (quantizers.empty()) return quantizers;
  std::vector<ActivationQuantizer*> all;
  for (const auto& quantizer : quantizers) all.push_back(quantizer.get());
  const HookedActivations hooked(model, quantizers);
  calibrate(model, all, calibration, samples);
  for (const auto& quantizer : quantizers) quantizer->set_rounding(true);
  return quantizers;
}

}  // namespace wattle
