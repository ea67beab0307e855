#include "trainer/nn/layers/feed_forward.h"

#include "trainer/nn/layers/activation.h"

namespace wattle {

GeluFeedForward::GeluFeedForward(const Scope& scope, const FeedForwardOptions& o)
    : up_(scope / "up", {.inputs = o.width, .outputs = o.neurons, .kind = LayerKind::kFeedForward}),
      down_(scope / "down", {.inputs = o.neurons,
                             .outputs = o.width,
                             .deviation = o.output_deviation,
                             .kind = LayerKind::kFeedForward}) {
  scope.model().groups.push_back({scope.name_of("neurons"),
                                  UnitKind::kNeuron,
                                  o.neurons,
                                  {{&up_.weight(), 0}, {up_.bias(), 0}, {&down_.weight(), 1}},
                                  {}});
}

at::Tensor GeluFeedForward::operator()(const at::Tensor& x) { return down_(wattle::gelu(up_(x))); }

SwigluFeedForward::SwigluFeedForward(const Scope& scope, const FeedForwardOptions& o)
    : gate_up_(scope / "gate_up", {.inputs = o.width,
                                   .outputs = 2 * o.neurons,
                                   .bias = false,
                                   .kind = LayerKind::kFeedForward}),
      down_(scope / "down", {.inputs = o.neurons,
                             .outputs = o.width,
                             .bias = false,
                             .deviation = o.output_deviation,
                             .kind = LayerKind::kFeedForward}) {
  scope.model().groups.push_back(
      {scope.name_of("neurons"),
       UnitKind::kNeuron,
       o.neurons,
       {{&gate_up_.weight(), 0}, {&gate_up_.weight(), 0, o.neurons}, {&down_.weight(), 1}},
       {}});
}

at::Tensor SwigluFeedForward::operator()(const at::Tensor& x) { return down_(swiglu(gate_up_(x))); }

}  // namespace wattle
