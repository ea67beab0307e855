#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "compression/deployment.h"
#include "compression/make_callbacks.h"
#include "parallel/communicators/threads/thread_communicator.h"
#include "tests/compression/compression_support.h"

namespace wattle {
namespace {

using testing::HasSubstr;
using testing::Not;

/// All weights may have 8 bits until joules get scarce.
std::vector<CompressionEntry> adaptive_entries() {
  std::vector<CompressionEntry> entries(1);
  QuantizeOptions& options = entries[0].quantize.emplace();
  options.embeddings = EmbeddingFormat::kTarget;
  options.widths.emplace();
  options.widths->formats = {"gguf:q4_0", "gguf:q8_0"};
  options.widths->budget_joules = 14000 * 0x1p-13;
  options.widths->joules_per_byte = 0x1p-13;
  options.widths->samples = 2;
  options.widths->adapt.emplace().every = 4;
  return entries;
}

struct Told {
  std::string ledger;
  std::string events;
};

/// What a run with a budget of 100 joules tells whose steps take so many.
Told run_with(double step_joules) {
  constexpr int64_t kSteps = 12;
  Told told;
  run_as_threads(1, [&](Communicator& ranks) {
    Model model = build_model(support::tiny_llama(), 1);
    const FlatLayout layout = layout_of(model.parameters);
    FlatParameters flat(model.parameters, layout, at::zeros({layout.numel}), Precision::kFp32);
    const support::CountingText text(8);
    const CalibrationSet calibration(text, 2, ranks);
    CompressionTools tools;
    tools.calibration = &calibration;
    tools.budget_joules = 100;
    const auto callbacks = make_compression_callbacks(adaptive_entries(), model, flat, tools);
    TrainingView view{model,
                      flat,
                      0,
                      kSteps,
                      0,
                      1,
                      /*model_changes=*/0,
                      [&](const std::string& event) { told.events += event + "\n"; }};
    for (; view.step < kSteps; ++view.step) {
      for (const auto& callback : callbacks) callback->step_begins(view);
      for (size_t i = 0; i < model.parameters.size(); ++i) {
        const auto index = static_cast<int64_t>(i);
        at::Tensor gradient = support::normal(flat.master_of(index).sizes(), 100 * view.step + i);
        for (WorkingTransform* transform : flat.transforms()) {
          if (!transform->applies_to(index, *model.parameters[i])) continue;
          transform->transform_gradient(index, flat.master_of(index), gradient);
        }
      }
      MetricsRecord record;
      record.energy_joules = step_joules;
      record.run_energy_joules = step_joules * static_cast<double>(view.step + 1);
      for (const auto& callback : callbacks) callback->step_ends(view, record);
    }
    std::map<std::string, std::string> sections;
    for (const auto& callback : callbacks) sections[callback->name()] = callback->save_state();
    told.ledger = compression_ledger(sections);
  });
  return told;
}

TEST(CompressionLedger, OfEqualChangesOfWidthIsEqualWhateverJoulesWereMeasured) {
  const Told scarce = run_with(12), scarcer = run_with(14);
  EXPECT_THAT(scarce.events, HasSubstr("may take 4/8 of theirs"));
  EXPECT_THAT(scarcer.events, HasSubstr("may take 3/8 of theirs"));
  EXPECT_THAT(scarce.ledger, HasSubstr("gguf:q8_0 becomes gguf:q4_0"));
  EXPECT_EQ(scarce.ledger, scarcer.ledger);
  EXPECT_THAT(scarce.ledger, Not(HasSubstr("joules")));
  EXPECT_THAT(scarce.ledger, Not(HasSubstr("eighths")));
  EXPECT_THAT(scarce.ledger, HasSubstr("budget_bytes: 14000"));
}

}  // namespace
}  // namespace wattle
