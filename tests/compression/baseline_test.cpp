#include "compression/report/baseline.h"

#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "energy/clock.h"
#include "parallel/communicators/threads/thread_communicator.h"
#include "tests/compression/compression_support.h"

namespace wattle {
namespace {

TEST(Baseline, OfALossThatIsNotFiniteIsRestored) {
  run_as_threads(1, [](Communicator& ranks) {
    Model model = build_model(support::tiny_llama(), 1);
    const FlatLayout layout = layout_of(model.parameters);
    FlatParameters flat(model.parameters, layout, at::zeros({layout.numel}), Precision::kFp32);
    const auto norm = std::ranges::find(model.parameters, "final_norm.weight", &Parameter::name);
    flat.master_of(norm - model.parameters.begin()).fill_(std::numeric_limits<float>::quiet_NaN());
    flat.publish();
    const support::CountingText text(4);
    const CalibrationSet calibration(text, 2, ranks);
    FiguresExchange exchange(ranks, at::kCPU);
    SteadyClock clock;
    EnergyOptions metering;
    metering.meter = MeterKind::kModel;
    EnergyMonitor energy(metering, clock);
    Evaluator evaluator(model, text, {text.size(), 2, 1}, exchange, energy);
    QuantizeOptions options;
    options.gptq.emplace();
    QuantizeCallback entry("entry", options, model, flat, &calibration);
    BaselineCallback measured({entry, options, evaluator, calibration});
    measured.step_begins({model, flat, 0, 10, 0, 1});
    BaselineCallback restored({entry, options, evaluator, calibration});
    restored.load_state(measured.save_state());
    ASSERT_TRUE(restored.baseline().has_value());
    EXPECT_TRUE(std::isnan(restored.baseline()->float_loss));
    EXPECT_TRUE(std::isnan(restored.baseline()->nearest_loss));
    EXPECT_EQ(restored.save_state(), measured.save_state());
  });
}

}  // namespace
}  // namespace wattle
