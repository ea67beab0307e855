#include "compression/activations/calibrate.h"

#include <c10/core/GradMode.h>

#include <utility>
#include <vector>

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

}  // namespace wattle
