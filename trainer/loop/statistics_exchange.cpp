#include "trainer/loop/statistics_exchange.h"

#include <ATen/ops/from_blob.h>

namespace wattle {
namespace {

void append(std::vector<double>& figures, const at::Tensor& values) {
  const at::Tensor doubles = values.detach().to(at::kCPU, at::kDouble).contiguous();
  const double* data = doubles.data_ptr<double>();
  figures.insert(figures.end(), data, data + doubles.numel());
}

/// Takes the next values off `figures`, of the shape and type of `like`.
at::Tensor take(const double*& figures, const at::Tensor& like) {
  const at::Tensor doubles = at::from_blob(const_cast<double*>(figures), like.sizes(), at::kDouble);
  figures += like.numel();
  return doubles.to(like.options());
}

}  // namespace

void exchange_statistics(FiguresExchange& exchange,
                         const std::vector<std::vector<BatchStatistics>>& local, Model& model) {
  if (model.buffers.empty() || model.frozen_norms) return;
  std::vector<double> figures;
  for (const std::vector<BatchStatistics>& micro_batch : local) {
    for (const BatchStatistics& layer : micro_batch) {
      append(figures, layer.mean);
      append(figures, layer.variance);
    }
  }
  for (const std::vector<double>& row : exchange.gather(figures)) {
    const double* next = row.data();
    while (next != row.data() + row.size()) {
      std::vector<BatchStatistics> micro_batch;
      for (size_t i = 0; i + 1 < model.buffers.size(); i += 2) {
        micro_batch.push_back({take(next, model.buffers[i].value), {}});
        micro_batch.back().variance = take(next, model.buffers[i + 1].value);
      }
      model.update_running_statistics(micro_batch);
    }
  }
}

}  // namespace wattle
