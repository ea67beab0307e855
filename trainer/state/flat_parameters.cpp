#include "trainer/state/flat_parameters.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "common/error.h"

namespace wattle {
namespace {

void check_layout(const std::vector<Parameter*>& parameters, const FlatLayout& layout,
                  const at::Tensor& gradients) {
  bool same = parameters.size() == layout.spans.size() && gradients.dim() == 1 &&
              gradients.numel() == layout.numel;
  for (size_t i = 0; same && i < parameters.size(); ++i) {
    same = parameters[i]->name() == layout.spans[i].name &&
           parameters[i]->value().numel() == layout.spans[i].numel;
  }
  if (!same) {
    throw Error(ErrorCode::kInternal,
                "flat parameters: the gradient buffer is not laid out as the model's parameters");
  }
}

}  // namespace

FlatLayout layout_of(const std::vector<Parameter*>& parameters) {
  std::vector<std::pair<std::string, int64_t>> tensors;
  for (const Parameter* parameter : parameters) {
    tensors.emplace_back(parameter->name(), parameter->value().numel());
  }
  return FlatLayout::of(tensors);
}

FlatParameters::FlatParameters(std::vector<Parameter*> parameters, FlatLayout layout,
                               at::Tensor gradients, Precision precision)
    : parameters_(std::move(parameters)),
      layout_(std::move(layout)),
      gradients_(std::move(gradients)) {
  check_layout(parameters_, layout_, gradients_);
  const at::NoGradGuard no_grad;
  const at::TensorOptions options = gradients_.options().requires_grad(false);
  master_ = at::zeros({layout_.numel},
                      options.dtype(precision == Precision::kFp64 ? at::kDouble : at::kFloat));
  if (precision == Precision::kBf16) {
    rounded_ = at::zeros({layout_.numel}, options.dtype(at::kBFloat16));
  }
  for (size_t i = 0; i < parameters_.size(); ++i) {
    shapes_.push_back(parameters_[i]->value().sizes().vec());
    master_of(i).copy_(parameters_[i]->value());
  }
  rebind();
  publish();
}

at::Tensor FlatParameters::view(const at::Tensor& flat, int64_t index) const {
  const FlatLayout::Span& span = layout_.spans[index];
  return flat.narrow(0, span.offset, span.numel).view(shapes_[index]);
}

at::Tensor FlatParameters::master_of(int64_t index) const {
  const at::NoGradGuard no_grad;
  return view(master_, index);
}

void FlatParameters::add_transform(WorkingTransform& transform) {
  transforms_.push_back(&transform);
  rebind();
  publish();
}

void FlatParameters::remove_transform(WorkingTransform& transform) {
  std::erase(transforms_, &transform);
  rebind();
  publish();
}

void FlatParameters::rebind() {
  const at::NoGradGuard no_grad;
  if (transforms_.empty()) {
    transformed_.reset();
  } else if (!transformed_.defined()) {
    transformed_ = at::zeros(master_.sizes(), master_.options());
  }
  chains_.clear();
  for (size_t i = 0; i < parameters_.size(); ++i) {
    chains_.push_back(chain_of(i));
    parameters_[i]->set_folded(false);
    const at::Tensor& unrounded = chains_[i].empty() ? master_ : transformed_;
    parameters_[i]->bind(view(rounded_.defined() ? rounded_ : unrounded, i), view(gradients_, i));
  }
}

std::vector<WorkingTransform*> FlatParameters::chain_of(int64_t index) const {
  std::vector<WorkingTransform*> chain;
  for (WorkingTransform* transform : transforms_) {
    if (transform->applies_to(index, *parameters_[index])) chain.push_back(transform);
  }
  return chain;
}

void FlatParameters::finish_gradients() {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (chains_[i].empty()) continue;
    at::Tensor gradient = view(gradients_, i);
    for (auto transform = chains_[i].rbegin(); transform != chains_[i].rend(); ++transform) {
      (*transform)->transform_gradient(i, master_of(i), gradient);
    }
  }
}

void FlatParameters::update_transforms() {
  const at::NoGradGuard no_grad;
  for (WorkingTransform* transform : transforms_) transform->update();
}

std::string FlatParameters::complaint() const {
  for (const WorkingTransform* transform : transforms_) {
    if (std::string found = transform->complaint(); !found.empty()) return found;
  }
  return "";
}

void FlatParameters::publish() {
  const at::NoGradGuard no_grad;
  if (rounded_.defined()) rounded_.copy_(master_);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (chains_[i].empty()) continue;
    at::Tensor values = view(transformed_, i);
    chains_[i].front()->transform_master(i, master_of(i), values);
    for (size_t t = 1; t < chains_[i].size(); ++t) chains_[i][t]->transform(i, values);
    parameters_[i]->set_folded(
        std::ranges::any_of(chains_[i], [i](const auto* t) { return t->folds_norm(i); }));
    if (rounded_.defined()) view(rounded_, i).copy_(values);
  }
}

}  // namespace wattle
