#include "trainer/nn/autograd.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/variable.h>

namespace wattle {
namespace {

class BackwardNode : public torch::autograd::Node {
 public:
  explicit BackwardNode(Backward backward) : backward_(std::move(backward)) {}

  torch::autograd::variable_list apply(torch::autograd::variable_list&& grads) override {
    if (!grads[0].defined()) return torch::autograd::variable_list(num_outputs());
    return backward_(grads[0]);
  }

  void release_variables() override { backward_ = nullptr; }

  std::string name() const override { return "WattleBackward"; }

 private:
  Backward backward_;
};

}  // namespace

bool recording() { return c10::GradMode::is_enabled(); }

at::Tensor record(const at::Tensor& output, std::vector<at::Tensor> inputs, Backward backward) {
  at::Tensor result = output.detach();
  auto node = std::shared_ptr<BackwardNode>(new BackwardNode(std::move(backward)),
                                            torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(inputs));
  torch::autograd::set_history(result, node);
  return result;
}

at::Tensor values_of(const at::Tensor& tensor) { return tensor.detach(); }

}  // namespace wattle
