#include "trainer/nn/layers/pooling.h"

#include <ATen/ops/max_pool2d.h>

#include "trainer/nn/graph/graph_recorder.h"

namespace wattle {

at::Tensor max_pool(const at::Tensor& x, int64_t window, const ForwardContext& context) {
  const at::Tensor y = at::max_pool2d(x, {window, window});
  if (context.recorder) {
    context.recorder->add({.kind = OperationKind::kMaxPool, .window = window}, {x}, y);
  }
  return y;
}

at::Tensor mean_pool(const at::Tensor& x, const ForwardContext& context) {
  const at::Tensor y = x.mean({2, 3});
  if (context.recorder) context.recorder->add({.kind = OperationKind::kMeanPool}, {x}, y);
  return y;
}

}  // namespace wattle
