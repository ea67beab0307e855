#include "trainer/nn/product.h"

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>

#include <optional>
#include <string_view>

namespace wattle {
namespace {

using LinearPointwise = at::Tensor(const at::Tensor&, const at::Tensor&,
                                   const std::optional<at::Tensor>&, std::string_view,
                                   c10::List<std::optional<at::Scalar>>,
                                   std::optional<std::string_view>);

/// oneDNN's linear layer has no name in at::, only in the dispatcher.
const c10::TypedOperatorHandle<LinearPointwise>& linear_pointwise() {
  static const auto handle = c10::Dispatcher::singleton()
                                 .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                                 .typed<LinearPointwise>();
  return handle;
}

}  // namespace

at::Tensor affine(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || !at::hasMKLDNN()) {
    return at::linear(x, weight, bias);
  }
  const auto b = bias.defined() ? std::optional(bias) : std::nullopt;
  return linear_pointwise().call(x, weight, b, "none", c10::List<std::optional<at::Scalar>>(), "");
}

}  // namespace wattle
