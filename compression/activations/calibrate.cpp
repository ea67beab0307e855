#include "compression/activations/calibrate.h"

#include <c10/core/GradMode.h>

#include <algorithm>

namespace wattle {
namespace {

using Quantizers = std::vector<ActivationQuantizer*>;

/// Of which each rank keeps the extremes until all ranks have them.
constexpr int64_t kBatches = 64;

std::vector<RangeStatistics*> statistics_of(const Quantizers& quantizers) {
  std::vector<RangeStatistics*> statistics;
  for (ActivationQuantizer* quantizer : quantizers) statistics.push_back(&quantizer->batch());
  return statistics;
}

/// Batches [first, end), of which the ranks take turns. Each is a step of the moving averages, in
/// their order; the other quantisers' batch() grows by this rank's.
void see_batches(Model& model, const Quantizers& averaging, const CalibrationSet& calibration,
                 int64_t samples, int64_t first, int64_t end) {
  Communicator& ranks = calibration.ranks();
  std::vector<RangeStatistics> none;
  for (const RangeStatistics* statistics : statistics_of(averaging)) none.push_back(*statistics);
  std::vector<std::vector<RangeStatistics>> seen(end - first, none);
  for (int64_t i = first + ranks.rank(); i < end; i += ranks.size()) {
    model.forward(calibration.batch(samples, i).inputs, ForwardContext{});
    for (size_t q = 0; q < averaging.size(); ++q) {
      std::swap(averaging[q]->batch(), seen[i - first][q]);
    }
  }
  std::vector<RangeStatistics*> all;
  for (auto& batch : seen) {
    for (RangeStatistics& statistics : batch) all.push_back(&statistics);
  }
  all_reduce(all, ranks);
  for (auto& batch : seen) {
    for (size_t q = 0; q < averaging.size(); ++q) {
      averaging[q]->batch() = std::move(batch[q]);
      averaging[q]->batch_ends(true, {});
    }
  }
}

}  // namespace

void calibrate(Model& model, std::span<ActivationQuantizer* const> quantizers,
               const CalibrationSet& calibration, int64_t samples) {
  const at::AutoGradMode no_grad(false);
  Quantizers averaging, counting;  // the order of batches is nothing to counts and extremes
  for (ActivationQuantizer* quantizer : quantizers) {
    const bool averages = quantizer->settings().observer.kind == ObserverKind::kMovingAverage;
    (averages ? averaging : counting).push_back(quantizer);
    quantizer->set_observing(true);
  }
  const int64_t batches = calibration.batches(samples);
  const int64_t window = kBatches * calibration.ranks().size();
  for (int64_t first = 0; first < batches; first += window) {
    see_batches(model, averaging, calibration, samples, first, std::min(batches, first + window));
  }
  all_reduce(statistics_of(counting), calibration.ranks());
  for (ActivationQuantizer* quantizer : counting) quantizer->batch_ends(true, {});
  for (ActivationQuantizer* quantizer : quantizers) quantizer->set_observing(false);
}

PausedObservers::PausedObservers(const Model& model) {
  for (const ActivationPoint* point : model.activations) {
    auto* quantizer = dynamic_cast<ActivationQuantizer*>(point->hook());
    if (quantizer == nullptr || !quantizer->observes()) continue;
    quantizer->set_observing(false);
    paused_.push_back(quantizer);
  }
}

PausedObservers::~PausedObservers() {
  for (ActivationQuantizer* quantizer : paused_) quantizer->set_observing(true);
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
