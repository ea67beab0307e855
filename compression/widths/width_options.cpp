#include "compression/widths/width_options.h"

#include <algorithm>

#include "common/error.h"
#include "compression/formats/weight_format.h"

namespace wattle {
namespace {

constexpr double kMostBytes = 1e15;  // of a budget of joules; doubles count them one by one

std::string refusal_of(const std::string& format) {
  try {
    make_weight_format(format);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace

void AdaptOptions::describe(Fields& f) {
  f("every", every,
    "steps whose gradients are measured, after which each weight may get another format")
      .at_least(2)
      .unit("steps");
  f("margin", margin,
    "formats change where the estimated increase of the loss falls by more than this share, or the "
    "budget asks for it")
      .at_least(0)
      .less_than(1);
  f("values", values, "values of each weight whose gradient is followed, at most").at_least(2);
  f("end_step", end_step, "steps done after which formats stay as they are; absent: never")
      .at_least(0)
      .unit("steps");
}

WidthOptions WidthOptions::in_bytes() const {
  WidthOptions options = *this;
  if (budget_joules) {
    auto bytes = static_cast<int64_t>(std::min(*budget_joules / joules_of_byte(), kMostBytes));
    // The quotient was rounded, up or down.
    if (cost_of(bytes) > budget()) {
      --bytes;
    } else if (cost_of(bytes + 1) <= budget()) {
      ++bytes;
    }
    options.budget_bytes = bytes;
  }
  options.budget_joules.reset();
  options.joules_per_byte.reset();
  return options;
}

void WidthOptions::describe(Fields& f) {
  f("formats", formats,
    "the formats that a weight may get: gguf:q4_0, gguf:q4_1, gguf:q6_k, gguf:q8_0, gguf:tq2_0 "
    "with a gguf "
    "target; else int4:group32, int8:channel and so on")
      .required();
  f("budget_bytes", budget_bytes, "what all weights of the entry may take in the file")
      .at_least(1)
      .unit("bytes");
  f("budget_joules", budget_joules,
    "what reading all weights of the entry once, as for each token, may take: estimated, "
    "joules_per_byte a byte")
      .greater_than(0)
      .unit("joules");
  f("joules_per_byte", joules_per_byte,
    "of memory; the default is DRAM's 1.3 nJ for 8 bytes (Horowitz 2014)")
      .greater_than(0)
      .unit("joules")
      .default_is("1.6e-10");
  f("samples", samples, "training samples on which each weight is tried in each format")
      .at_least(1);
  f("adapt", adapt,
    "where it stands, formats go on changing while the model trains: from the measured noise of "
    "each "
    "weight's gradient, and to smaller ones while energy.budget_joules looks to be too little");
  f.check([this](Checker& c) {
    c.require(formats.size() >= 2, "formats", "needs at least two to choose from");
    for (const std::string& format : formats) {
      const std::string refusal = refusal_of(format);
      c.require(refusal.empty(), "formats", refusal);
    }
    c.require(budget_bytes.has_value() != budget_joules.has_value(), "budget_bytes",
              "expected one budget: this or budget_joules");
  });
}

}  // namespace wattle
