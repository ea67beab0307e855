#include "compression/activations/activation_options.h"

#include <fmt/format.h>

namespace wattle {

void ActivationOptions::describe(Fields& f) {
  f("targets", targets,
    "which activations: names (input, stem.relu), parts of the model, or re: and a regular "
    "expression for the whole name; none means all");
  f("bits", bits, "of the integers, 8 or 16").at_least(8).at_most(16);
  f("symmetric", symmetric, "no zero points");
  f("begin_step", begin_step,
    "steps done before activations are rounded; their ranges are observed before")
      .at_least(0)
      .unit("steps")
      .default_is("begin_step of the entry");
  f("clip_gradients", clip_gradients,
    "a value beyond the ends of its range gets no gradient; otherwise gradients pass straight "
    "through");
  f.choice("learn", learn, {{"none", RangeLearning::kNone}, {"clipping", RangeLearning::kClipping}},
           "what of the ranges is learned by gradient once activations are rounded: none, they are "
           "observed; clipping, their ends (PACT)");
  f("range_lr", range_lr, "learning rate of learned ends, relative to the end")
      .greater_than(0)
      .less_than(0.5);
  f.check([this](Checker& c) {
    c.require(bits == 8 || bits == 16, "bits", fmt::format("{}; expected 8 or 16", bits));
    c.require(learn != RangeLearning::kNone || range_lr == ActivationOptions().range_lr, "range_lr",
              "needs learn");
    c.require(learn == RangeLearning::kNone || clip_gradients, "clip_gradients",
              "learned ends clip gradients by themselves");
  });
}

void describe_observer(Fields& f, ObserverOptions& observer) {
  f.choice("observer", observer.kind, observer_kinds(),
           "how an activation's range follows from the global batches: their extremes, a moving "
           "average of them, all but the rarest values, the least loss of information, the least "
           "squared error");
  f("observer_momentum", observer.momentum, "of ema: weight of a new batch")
      .greater_than(0)
      .at_most(1);
  f("observer_percentile", observer.percentile, "of percentile: values that are not clipped")
      .greater_than(50)
      .at_most(100)
      .unit("%");
}

void check_activations(const ActivationOptions& options, const ActivationPhase& phase, Checker& c) {
  c.require(phase.quantise_step >= phase.begin_step, "activations.begin_step",
            fmt::format("{} is before begin_step {}", phase.quantise_step, phase.begin_step));
  c.require(
      !phase.end_step || phase.quantise_step < *phase.end_step, "activations.begin_step",
      fmt::format("{} is not before end_step {}", phase.quantise_step, phase.end_step.value_or(0)));
  c.require(!phase.freeze_step || *phase.freeze_step > phase.begin_step, "freeze_observers_step",
            fmt::format("{} leaves no step from begin_step {} on to observe activations in",
                        phase.freeze_step.value_or(0), phase.begin_step));
  c.require(options.learn == RangeLearning::kNone || !phase.freeze_step ||
                *phase.freeze_step > phase.quantise_step,
            "freeze_observers_step",
            fmt::format("{} leaves no step from activations.begin_step {} on to learn ranges in",
                        phase.freeze_step.value_or(0), phase.quantise_step));
}

}  // namespace wattle
