#include "compression/export/deployed_graph.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "common/error.h"
#include "compression/make_callbacks.h"
#include "compression/quantize/weight_quantizer.h"
#include "trainer/models/build_model.h"
#include "trainer/nn/layers/norm_fold.h"

namespace wattle {
namespace {

using testing::HasSubstr;

/// A small network whose batch norms have statistics of their own.
class Deploying : public testing::Test {
 protected:
  void build(ModelFamily family = ModelFamily::kResnet) {
    ModelOptions options;
    options.family = family;
    options.channels = {4, 6};
    model_ = build_model(options, 1);
    const FlatLayout layout = layout_of(model_.parameters);
    flat_ = std::make_unique<FlatParameters>(model_.parameters, layout, at::zeros({layout.numel}),
                                             Precision::kFp32);
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < model_.buffers.size(); ++i) {
      const at::Tensor noise = at::randn(model_.buffers[i].value.sizes());
      model_.buffers[i].value.copy_(i % 2 == 0 ? noise : noise.abs() + 0.5);
    }
    for (const Weight& weight : model_.weights) {
      if (weight.norm) weight.norm->weight->value().add_(at::randn({1}) * 0.3);
    }
  }
  void quantise(const std::function<void(QuantizeOptions&)>& set = {}) {
    CompressionEntry entry;
    entry.quantize.emplace();
    entry.quantize->target = WeightTargetType::kInt8;
    if (set) set(*entry.quantize);
    callbacks_ = make_compression_callbacks({entry}, model_, *flat_);
    for (const auto& callback : callbacks_) callback->step_begins({model_, *flat_, 0, 9, 0, 1});
  }
  DeployedGraph deployed() {
    std::vector<NamedTensor> parameters;
    for (const Parameter* p : model_.parameters) parameters.push_back({p->name(), p->value()});
    return deployed_graph(model_, parameters, deployment_of(*flat_), "a test");
  }

  Model model_;
  std::unique_ptr<FlatParameters> flat_;
  std::vector<std::unique_ptr<Callback>> callbacks_;
};

at::Tensor decoded(const EncodedWeight& codes) {
  const at::Tensor& scale = codes.scales.scale;
  return codes.codes.to(at::kFloat) * (scale.numel() == 1 ? scale : scale.view({-1, 1, 1, 1}));
}

TEST_F(Deploying, ForwardReadsTheFoldedWeightThatIsDeployed) {
  for (const SharingChoice scales : {SharingChoice::kChannel, SharingChoice::kTensor}) {
    build();
    quantise([&](auto& o) { o.scales = scales; });
    const DeployedGraph graph = deployed();
    const DeployedOperation& stem = graph.operations.front();
    EXPECT_EQ(stem.name, "stem.conv");
    ASSERT_TRUE(stem.codes.has_value());
    const at::NoGradGuard no_grad;
    const at::Tensor x = at::randn({2, 1, 8, 8});
    const FollowingNorm& norm = *model_.weights.front().norm;
    EXPECT_TRUE(at::equal(stem.bias, folded_bias(norm, norm.bias->value())))
        << "the bias is training's to the last bit";
    EXPECT_TRUE(at::equal(decoded(*stem.codes), model_.weights.front().weight->value()));
    const at::Tensor unfolded = decoded(*stem.codes) / fold_factor(norm).view({-1, 1, 1, 1});
    const at::Tensor y = at::conv2d(x, unfolded, {}, 1, 1);
    const auto wide = [](const at::Tensor& t) { return t.view({1, -1, 1, 1}); };
    const at::Tensor normed = (y - wide(norm.running_mean)) /
                                  wide((norm.running_variance + norm.eps).sqrt()) *
                                  wide(norm.weight->value()) +
                              wide(norm.bias->value());
    const at::Tensor folded = at::conv2d(x, decoded(*stem.codes), stem.bias, 1, 1);
    EXPECT_LT((normed - folded).abs().max().item<float>(), 1e-4);
  }
}

TEST_F(Deploying, WithoutFoldingBatchNormStays) {
  build();
  quantise([](auto& o) { o.fold_batch_norm = false; });
  const DeployedGraph graph = deployed();
  EXPECT_EQ(graph.operations[1].kind, OperationKind::kBatchNorm);
  build();
  quantise();
  for (const DeployedOperation& operation : deployed().operations) {
    EXPECT_NE(operation.kind, OperationKind::kBatchNorm);
  }
}

TEST_F(Deploying, AChannelThatItsNormTurnsOffStaysAsItIs) {
  build();
  {
    const at::NoGradGuard no_grad;
    model_.weights.front().norm->weight->value()[1].zero_();
  }
  quantise();
  const Parameter& weight = *model_.weights.front().weight;
  EXPECT_TRUE(at::equal(weight.value()[1], flat_->master_of(0)[1]));
  EXPECT_FALSE(at::equal(weight.value()[0], flat_->master_of(0)[0]));
  EXPECT_EQ(deployed().operations.front().codes->codes[1].abs().max().item<int>(), 0);
}

TEST_F(Deploying, LearnedScalesOfAFoldedWeightHaveTheGradientOfTheFoldedProduct) {
  build();
  const at::NoGradGuard no_grad;
  const Weight& weight = model_.weights.front();
  const std::shared_ptr<const WeightFormat> format = make_weight_format("int8:channel");
  WeightQuantizer folded("folded", {{weight.weight->name(), format, weight.norm}},
                         model_.parameters, false);
  WeightQuantizer plain("plain", {{weight.weight->name(), format}}, model_.parameters, false);
  const at::Tensor master = flat_->master_of(0);
  at::Tensor product = folded.folded(0, master);
  const at::Tensor factor = fold_factor(*weight.norm);
  const WeightScales scales = format->scales_of(product);
  for (WeightQuantizer* quantizer : {&folded, &plain}) {
    quantizer->set_scales(0, {scales.scale.clone() * 0.5, {}});
    quantizer->learn_scales(0, ScaleLearning::kStep, 0.1);
  }
  const at::Tensor gradient = at::randn(master.sizes());  // of what forward reads
  at::Tensor at_master = gradient.clone(), at_product = gradient.clone();
  folded.transform_gradient(0, master, at_master);
  plain.transform_gradient(0, product, at_product);
  EXPECT_TRUE(at::equal(at_master, at_product * factor.view({-1, 1, 1, 1})));
  EXPECT_GT(at_master.eq(0).sum().item<int64_t>(), 0) << "half the range clips something";
  folded.update();
  plain.update();
  EXPECT_TRUE(at::equal(folded.scales_of(0)->scale, plain.scales_of(0)->scale));
  EXPECT_FALSE(at::equal(folded.scales_of(0)->scale, scales.scale * 0.5));
}

TEST_F(Deploying, RefusesWhatAFileOfCodesCannotHold) {
  build();
  quantise([](auto& o) {
    o.target = WeightTargetType::kTernary;
    o.scales = SharingChoice::kChannel;
  });
  try {
    deployed();
    FAIL() << "ternary was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("stem.conv.weight was trained for ternary:channel"));
  }
}

TEST(GraphOf, FollowsAForwardPass) {
  ModelOptions options;
  options.family = ModelFamily::kVgg;
  options.channels = {2, 3};
  options.hidden = {5};
  options.dropout = 0.5;
  Model model = build_model(options, 1);
  const Graph graph = graph_of(model, "a test");
  using enum OperationKind;
  std::vector<OperationKind> kinds;
  for (const Operation& operation : graph.operations) kinds.push_back(operation.kind);
  EXPECT_THAT(
      kinds, testing::ElementsAre(kConvolution, kBatchNorm, kRelu, kMaxPool, kConvolution,
                                  kBatchNorm, kRelu, kMaxPool, kMeanPool, kLinear, kRelu, kLinear));
  EXPECT_EQ(graph.values[graph.input].point->name(), "input");
  EXPECT_EQ(graph.values[graph.output].point->name(), "output.logits");
  EXPECT_EQ(graph.maker_of(graph.input), std::nullopt);
}

TEST(GraphOf, RefusesModelsOfTokens) {
  ModelOptions options;
  options.family = ModelFamily::kGpt2;
  options.layers = 1;
  options.width = 8;
  options.heads = 1;
  Model model = build_model(options, 1);
  EXPECT_THROW(graph_of(model, "a test"), Error);
}

}  // namespace
}  // namespace wattle
