#include "trainer/models/generate.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "common/error.h"

namespace wattle {

std::vector<int64_t> generate(Model& model, const std::vector<int64_t>& prompt,
                              const SampleOptions& options) {
  if (prompt.empty())
    throw Error(ErrorCode::kConfig, "a sample needs a prompt of at least one token");
  at::AutoGradMode no_grad(false);
  auto generator = at::make_generator<at::CPUGeneratorImpl>(options.seed);
  const at::Device device = model.parameters.front()->value().device();
  std::vector<int64_t> tokens = prompt;
  for (int64_t i = 0; i < options.count; ++i) {
    const auto seen = std::min(static_cast<int64_t>(tokens.size()), options.positions);
    const at::Tensor window = at::tensor(std::vector<int64_t>(tokens.end() - seen, tokens.end()));
    const at::Tensor activations = model.forward(window.unsqueeze(0).to(device), {});
    const at::Tensor logits = model.objective->predict(activations.select(1, seen - 1))
                                  .flatten()
                                  .to(at::kCPU, at::kDouble);
    const at::Tensor next =
        options.temperature == 0
            ? logits.argmax()
            : at::softmax(logits / options.temperature, 0).multinomial(1, false, generator);
    tokens.push_back(next.item<int64_t>());
  }
  return tokens;
}

}  // namespace wattle
