#include "compression/activations/calibrate.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "compression/make_callbacks.h"
#include "parallel/communicators/threads/thread_communicator.h"
#include "tests/compression/image_support.h"
#include "trainer/loop/evaluator.h"

namespace wattle {
namespace {

using support::Images;
using support::normal;

/// Rows of 6 numbers that grow and shrink from one to the next.
class Rows : public Dataset {
 public:
  explicit Rows(int64_t size) : size_(size) {}
  int64_t size() const override { return size_; }
  const SampleShape& shape() const override { return shape_; }
  Batch fetch(std::span<const int64_t> indices) const override {
    const auto count = static_cast<int64_t>(indices.size());
    Batch batch{at::zeros({count, 6}), at::zeros({count}), {}};
    batch.sample_indices.assign(indices.begin(), indices.end());
    for (int64_t i = 0; i < count; ++i) {
      batch.inputs[i].copy_(normal({6}, indices[i]) * (1 + indices[i] % 7));
    }
    return batch;
  }

 private:
  int64_t size_;
  SampleShape shape_{SampleShape::Kind::kRow, {6}, 0};
};

Model small_mlp() {
  ModelOptions options;
  options.family = ModelFamily::kMlp;
  options.inputs = 6;
  options.hidden = {8};
  options.outputs = 1;
  return build_model(options, 1);
}

/// Of all activations, on all rows, one a batch.
ActivationQuantizers calibrated(ObserverKind observer, int64_t rows, Communicator& ranks) {
  Model model = small_mlp();
  const Rows data(rows);
  std::vector<ActivationSite> sites;
  for (const ActivationPoint* point : model.activations) {
    sites.push_back({point->name(), {{8, false}, {.kind = observer}}});
  }
  return calibrated_activations(model, sites, CalibrationSet(data, 1, ranks), rows);
}

/// What the last of so many ranks knows then.
std::string known_by(int count, ObserverKind observer, int64_t rows) {
  std::string known;
  run_as_threads(count, [&](Communicator& ranks) {
    const ActivationQuantizers quantizers = calibrated(observer, rows, ranks);
    if (ranks.rank() < count - 1) return;
    for (const auto& quantizer : quantizers) known += quantizer->save().dump() + "\n";
  });
  return known;
}

TEST(Calibrate, OfManyBatchesIsTheSameOnAnyNumberOfRanks) {
  for (const ObserverKind observer : {ObserverKind::kMovingAverage, ObserverKind::kLeastSquares}) {
    const std::string alone = known_by(1, observer, 300);
    for (const int ranks : {2, 3}) EXPECT_EQ(known_by(ranks, observer, 300), alone) << ranks;
  }
}

TEST(Calibrate, CountsEachBatchInItsOrder) {
  constexpr int64_t kRows = 200;
  RangeObserver input({.kind = ObserverKind::kMovingAverage}, {8, false});
  for (int64_t i = 0; i < kRows; ++i) {
    RangeStatistics batch = input.batch();
    batch.add(Rows(kRows).fetch(std::array{i}).inputs, "input");
    input.update(batch);
  }
  run_as_threads(1, [&](Communicator& ranks) {
    EXPECT_EQ(calibrated(ObserverKind::kMovingAverage, kRows, ranks).front()->scale(),
              input.scale());
  });
}

int64_t most_resident_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string key; status >> key; status.ignore(1 << 10, '\n')) {
    if (int64_t kib = 0; key == "VmHWM:" && status >> kib) return kib;
  }
  return 0;
}

TEST(Calibrate, TakesNoMoreMemoryForMoreSamples) {
  run_as_threads(1, [](Communicator& ranks) {
    calibrated(ObserverKind::kHistogram, 10, ranks);
    const int64_t before = most_resident_kib();
    ASSERT_GT(before, 0);
    calibrated(ObserverKind::kHistogram, 3000, ranks);
    EXPECT_LT(most_resident_kib() - before, 50 << 10) << "its histograms would take 280 MB";
  });
}

/// An entry that observes from the first step on, and one that begins at a later one.
std::vector<CompressionEntry> entries_of(const Model& model,
                                         const std::function<void(QuantizeOptions&)>& set_later) {
  std::vector<CompressionEntry> entries(2);
  for (CompressionEntry& entry : entries) {
    entry.quantize.emplace().target = WeightTargetType::kInt8;
    entry.quantize->baseline = BaselineKind::kNone;
  }
  entries[0].quantize->targets = {model.weights.front().weight->name()};
  entries[0].quantize->activations.emplace();
  entries[1].quantize->targets = {model.weights.back().weight->name()};
  entries[1].quantize->begin_step = 1;
  set_later(*entries[1].quantize);
  return entries;
}

/// What the first entry's observers have seen once the second has begun, before any forward pass of
/// the step, and whether they see that.
void check_that_none_counts(const std::function<void(QuantizeOptions&)>& set_later) {
  run_as_threads(1, [&](Communicator& ranks) {
    Model model = build_model(support::tiny_resnet(), 1);
    const FlatLayout layout = layout_of(model.parameters);
    FlatParameters flat(model.parameters, layout, at::zeros({layout.numel}), Precision::kFp32);
    const Images images;
    const CalibrationSet calibration(images, 4, ranks);
    const EvaluationPlan plan{images.size(), 4, 1};
    FiguresExchange exchange(ranks, at::kCPU);
    SteadyClock clock;
    EnergyOptions metering;
    metering.meter = MeterKind::kModel;
    EnergyMonitor energy(metering, clock);
    Evaluator evaluator(model, images, plan, exchange, energy);
    CompressionTools tools;
    tools.evaluator = &evaluator;
    tools.ranks = &ranks;
    tools.calibration = &calibration;
    const auto callbacks =
        make_compression_callbacks(entries_of(model, set_later), model, flat, tools);
    for (int64_t step = 0; step < 2; ++step) {
      const TrainingView view{model, flat, step, 10, 0, 1};
      for (const auto& callback : callbacks) callback->step_begins(view);
      const auto seen = [&] {
        return dynamic_cast<ActivationQuantizer&>(*model.activations.front()->hook())
            .batch()
            .values();
      };
      EXPECT_EQ(seen(), 0) << "step " << step;
      model.forward(images.all(), ForwardContext{});
      EXPECT_EQ(seen(), images.all().numel()) << "step " << step;
      for (const auto& callback : callbacks) callback->step_ends(view, MetricsRecord());
    }
  });
}

TEST(PausedObservers, DontCountTheSamplesThatALaterEntryLooksAt) {
  check_that_none_counts([](QuantizeOptions& options) { options.gptq.emplace(); });
  check_that_none_counts([](QuantizeOptions& options) {
    options.gptq.emplace();
    options.baseline = BaselineKind::kNearest;
  });
  check_that_none_counts([](QuantizeOptions& options) {
    options.widths.emplace().formats = {"int4:channel", "int8:channel"};
    options.widths->budget_bytes = 1 << 20;
  });
}

}  // namespace
}  // namespace wattle
