#include "compression/widths/width_options.h"

#include "common/error.h"
#include "compression/formats/weight_format.h"

namespace wattle {
namespace {

std::string refusal_of(const std::string& format) {
  try {
    make_weight_format(format);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace

void WidthOptions::describe(Fields& f) {
  f("formats", formats,
    "the formats that a weight may get: gguf:q4_0, gguf:q4_1, gguf:q6_k, gguf:q8_0 with a gguf "
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
      .unit("joules");
  f("samples", samples, "training samples on which each weight is tried in each format")
      .at_least(1);
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
