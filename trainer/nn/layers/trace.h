#pragma once

#include <utility>

#include "trainer/nn/model.h"

namespace wattle {

/// y, whose backward pass announces `kind` to the trace before it goes on.
at::Tensor announce_backward(const at::Tensor& y, LayerKind kind, LayerTrace& trace);

/// Runs one part of a layer, announced to the context's trace in both directions if it has one.
template <class Part>
at::Tensor traced(const ForwardContext& context, LayerKind kind, Part&& part) {
  if (!context.trace) return std::forward<Part>(part)();
  context.trace->enter_forward(kind);
  return announce_backward(std::forward<Part>(part)(), kind, *context.trace);
}

}  // namespace wattle
