#include "trainer/nn/layers/trace.h"

#include "trainer/nn/autograd.h"

namespace wattle {

at::Tensor announce_backward(const at::Tensor& y, LayerKind kind, LayerTrace& trace) {
  if (!recording()) return y;
  return record(y, {y}, [kind, &trace](const at::Tensor& grad) -> std::vector<at::Tensor> {
    trace.enter_backward(kind);
    return {grad};
  });
}

}  // namespace wattle
