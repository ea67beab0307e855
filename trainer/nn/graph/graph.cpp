#include "trainer/nn/graph/graph.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include "common/error.h"
#include "trainer/nn/graph/graph_recorder.h"
#include "trainer/nn/model.h"

namespace wattle {
namespace {

/// Of the image that a pass is followed with: pools may halve it six times.
constexpr int64_t kSide = 64;

/// Something that the model takes: the first weight says which.
at::Tensor sample_for(const Model& model) {
  const at::Tensor& first = model.weights.front().weight->value();
  const at::TensorOptions type = at::TensorOptions(first.scalar_type());
  if (first.dim() == 4) return at::zeros({1, first.size(1), kSide, kSide}, type);
  return at::zeros({1, first.size(1)}, type);
}

}  // namespace

std::vector<size_t> Graph::readers_of(int64_t value) const {
  std::vector<size_t> readers;
  for (size_t i = 0; i < operations.size(); ++i) {
    for (const int64_t input : operations[i].inputs) {
      if (input == value) readers.push_back(i);
    }
  }
  return readers;
}

std::optional<size_t> Graph::maker_of(int64_t value) const {
  for (size_t i = 0; i < operations.size(); ++i) {
    if (operations[i].output == value) return i;
  }
  return std::nullopt;
}

Graph graph_of(Model& model, const std::string& what) {
  if (!model.input) {
    throw Error(ErrorCode::kUnsupported,
                what +
                    ": needs a model of rows or images (mlp, resnet, vgg); this one takes "
                    "tokens");
  }
  const at::NoGradGuard no_grad;
  GraphRecorder recorder;
  ForwardContext context;
  context.recorder = &recorder;
  return recorder.finish(model.forward(sample_for(model), context));
}

}  // namespace wattle
