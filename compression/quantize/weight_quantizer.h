#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "compression/quantize/learned_scales.h"
#include "compression/quantize/weight_targets.h"
#include "trainer/state/working_transform.h"

namespace wattle {

/// Rounds weights to the formats that they will be deployed in, between master and working values.
/// What forward reads is what WeightFormat::encode() of the same values decodes to.
///
/// Where batch norm is folded in (Jacob et al. 2018, section 3.2), forward reads the weight times
/// the norm's factor, rounded: the very values of the file. The norm knows (folds_norm()) and adds
/// a bias, or corrects for a batch's own statistics until they are frozen; its parameters have
/// their gradients from the norm itself. A channel that the norm turns off keeps its values.
///
/// Values that are not finite have no rounding: forward then reads NaN, complaint() says where, and
/// what comes of such a step is train.on_non_finite's to say. quantise_model() names the place.
///
/// Of a weight that lies on several ranks (WeightTarget::shard) this rounds the part that is here
/// to the very values that the whole one would be rounded to. Where values on several ranks share a
/// scale, transform(), transform_gradient() and the like are collective among them: they hold parts
/// of the same weights, in the same order.
///
/// Gradients pass straight through, or are clipped where a value lies beyond its grid. Learned
/// scales have their gradient from transform_gradient() and move with update(), as the weights do.
/// Their state is part of state().
class WeightQuantizer : public WorkingTransform {
 public:
  /// `parameters`: the model's, in its order. Throws Error(kInternal) if one of the targets is not
  /// among them, Error(kConfig) as check_cut() does.
  WeightQuantizer(std::string name, const std::vector<WeightTarget>& targets,
                  const std::vector<Parameter*>& parameters, bool clip_gradients);

  std::string name() const override { return name_; }
  bool applies_to(int64_t index, const Parameter& parameter) const override;
  void transform(int64_t index, at::Tensor& values) override;
  void transform_master(int64_t index, const at::Tensor& master, at::Tensor& values) override;
  bool folds_norm(int64_t index) const override { return entry_of(index).target.norm.has_value(); }
  void transform_gradient(int64_t index, const at::Tensor& master, at::Tensor& gradient) override;
  void update() override;
  std::string complaint() const override;
  std::vector<NamedTensor> state() override;

  /// The indices of the weights that this applies to, ascending.
  std::vector<int64_t> indices() const;
  bool clips_gradients() const { return clip_gradients_; }
  /// Parameter `index`, to which this applies, and its format.
  const WeightTarget& target_of(int64_t index) const { return entry_of(index).target; }
  /// The fixed scales of parameter `index`; nullptr where they follow from the values.
  const WeightScales* scales_of(int64_t index) const;
  /// Which part of parameter `index` is here; nullptr: all of it.
  const WeightShard* shard_of(int64_t index) const;
  /// The scales that it is rounded with where its master values are these; collective as below.
  WeightScales scales_for(int64_t index, const at::Tensor& master) const;
  /// The scales to give the format of parameter `index` when it rounds these (folded) values: the
  /// fixed ones, or those that follow from the values of several ranks; nothing where each
  /// segment's follow from the values that are here. Collective where values share scales.
  std::optional<WeightScales> given_scales(int64_t index, const at::Tensor& values) const;
  /// What is rounded of parameter `index` where its master values are these: they themselves, or
  /// with batch norm folded in.
  at::Tensor folded(int64_t index, const at::Tensor& master) const;
  /// As transform(), but throws Error(kNonFinite) that names weight and place.
  void transform_or_throw(int64_t index, at::Tensor& values) const;
  /// Changes the format of a weight; fixed scales are dropped. Publish afterwards.
  void set_format(int64_t index, std::shared_ptr<const WeightFormat> format);
  /// Fixes the scales of a weight whose format takes them: they become part of state(). Publish
  /// afterwards.
  void set_scales(int64_t index, WeightScales scales);
  /// From now on the fixed scales of a weight are learned, at this rate relative to their size;
  /// kNone: they stay as they are.
  void learn_scales(int64_t index, ScaleLearning learning, double rate);
  ScaleLearning learning_of(int64_t index) const { return entry_of(index).learning; }

 private:
  struct Entry {
    WeightTarget target;
    std::optional<WeightScales> scales = {};
    ScaleLearning learning = ScaleLearning::kNone;
    double rate = 0;
    std::optional<ScaleOptimizer> optimizer = {};
    at::Tensor scale_gradient = {};  ///< of the last step; undefined after update()
    std::string complaint = {};      ///< of the last transform()
  };
  Entry& entry_of(int64_t index);
  const Entry& entry_of(int64_t index) const;
  void round(int64_t index, const at::Tensor& values, at::Tensor& rounded) const;
  void leave_non_finite(int64_t index, at::Tensor& values, const std::function<void()>& work);

  std::string name_;
  std::vector<std::optional<Entry>> entries_;  ///< by the parameter's index
  bool clip_gradients_;
};

}  // namespace wattle
