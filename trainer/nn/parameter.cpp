#include "trainer/nn/parameter.h"

#include "common/error.h"

namespace wattle {

const char* name_of(LayerKind kind) {
  switch (kind) {
    case LayerKind::kEmbedding:
      return "embedding";
    case LayerKind::kNorm:
      return "norm";
    case LayerKind::kAttention:
      return "attention";
    case LayerKind::kFeedForward:
      return "feed_forward";
    case LayerKind::kConvolution:
      return "convolution";
    case LayerKind::kDense:
      return "dense";
    case LayerKind::kHead:
      return "head";
  }
  throw Error(ErrorCode::kInternal, "unknown layer kind");
}

Parameter::Parameter(std::string name, at::Tensor initial, LayerKind kind, bool decays)
    : name_(std::move(name)), value_(std::move(initial)), kind_(kind), decays_(decays) {
  value_.requires_grad_(true);
}

void Parameter::bind(at::Tensor value, at::Tensor grad) {
  if (value.sizes() != value_.sizes() || grad.sizes() != value_.sizes()) {
    throw Error(ErrorCode::kInternal, "parameter " + name_ + " bound to storage of another shape");
  }
  value_ = std::move(value);
  value_.requires_grad_(true);
  grad_ = std::move(grad);
}

void Parameter::accumulate(const std::function<void(at::Tensor& grad, double beta)>& write) {
  write(grad_, fresh_ ? 0.0 : 1.0);
  fresh_ = false;
  if (--expected_ == 0 && ready_) ready_();
}

void Parameter::end_step() {
  if (fresh_) grad_.zero_();
  fresh_ = false;
  expected_ = 0;
}

}  // namespace wattle
