#include "compression/distil/distil_options.h"

#include <fmt/format.h>

#include "common/config/config_file.h"

namespace wattle {

void DistilOptions::describe(Fields& f) {
  f("teacher", teacher,
    "the float model to learn from, as model.init_from: a GGUF file, a folder with safetensors, or "
    "a checkpoint (its master weights); it has the same vocabulary or classes. Absent: the one "
    "that float_run trains")
      .type = kInputPath;
  f("temperature", temperature,
    "divides both models' logits before their distributions are compared")
      .greater_than(0);
  f("weight", weight,
    "the loss is (1 - weight) * cross-entropy + weight * temperature^2 * KL(teacher, model)")
      .greater_than(0)
      .at_most(1);
  f("begin_step", begin_step, "steps done before it learns from the teacher")
      .at_least(0)
      .unit("steps");
  f("end_step", end_step, "steps done when it no longer does; absent: never")
      .at_least(1)
      .unit("steps");
  f.check([this](Checker& c) {
    c.require(!teacher || !teacher->empty(), "teacher", "is empty");
    c.require(!end_step || *end_step > begin_step, "end_step",
              fmt::format("{} is not after begin_step {}", end_step.value_or(0), begin_step));
  });
}

std::string distil_name(size_t index) { return fmt::format("compression.{}.distil", index); }

}  // namespace wattle
