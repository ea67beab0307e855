#include "trainer/nn/layers/dropout.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cmath>

#include "common/error.h"
#include "trainer/nn/autograd.h"
#include "trainer/nn/kernels/philox.h"

namespace wattle {
namespace {

/// What decides the mask of a batch, and how it is applied.
struct Mask {
  uint64_t key;
  uint32_t stream;
  std::vector<int64_t> samples;
  uint32_t threshold;
  double scale;

  at::Tensor applied(const at::Tensor& x) const {
    const at::Tensor in = x.contiguous();
    const bool fast = in.is_cpu() && in.scalar_type() == at::kFloat;
    return fast ? applied_in_float(in) : in * drawn(in).mul_(scale);
  }

 private:
  PhiloxRow row(int64_t i) const {
    return {key, stream, static_cast<uint64_t>(samples[static_cast<size_t>(i)])};
  }

  at::Tensor applied_in_float(const at::Tensor& in) const {
    at::Tensor out = at::empty_like(in);
    const int64_t width = in.numel() / in.size(0);
    const float* from = in.const_data_ptr<float>();
    float* to = out.mutable_data_ptr<float>();
    at::parallel_for(0, in.size(0), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        philox_dropout(row(i), threshold, static_cast<float>(scale), from + i * width,
                       to + i * width, width);
      }
    });
    return out;
  }

  /// 1 where an element is kept, drawn on the CPU, as a tensor like x.
  at::Tensor drawn(const at::Tensor& x) const {
    at::Tensor mask = at::empty(x.sizes(), at::kBool);
    const int64_t width = x.numel() / x.size(0);
    for (int64_t i = 0; i < x.size(0); ++i) {
      philox_mask(row(i), threshold, mask.mutable_data_ptr<bool>() + i * width, width);
    }
    return mask.to(x.options());
  }
};

}  // namespace

at::Tensor Dropout::operator()(const at::Tensor& x, const ForwardContext& context) const {
  if (rate_ == 0 || !context.training) return x;
  if (!context.sample_indices ||
      static_cast<int64_t>(context.sample_indices->size()) != x.size(0)) {
    throw Error(ErrorCode::kInternal,
                fmt::format("dropout of {} samples needs the index of each", x.size(0)));
  }
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const Mask mask{mixed(mixed(context.seed) + static_cast<uint64_t>(context.step)),
                  static_cast<uint32_t>(layer_), *context.sample_indices,
                  static_cast<uint32_t>(std::ldexp(rate_, 32)), 1 / (1 - rate_)};
  const at::Tensor y = mask.applied(x);
  if (!records) return y;
  return record(y, {x}, [mask](const at::Tensor& grad) -> std::vector<at::Tensor> {
    return {mask.applied(grad)};
  });
}

}  // namespace wattle
