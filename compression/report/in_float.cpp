#include "compression/report/in_float.h"

#include <vector>

namespace wattle {

void in_float(Model& model, FlatParameters& parameters, const std::function<void()>& work) {
  const std::vector<WorkingTransform*> transforms = parameters.transforms();
  std::vector<ActivationHook*> hooks;
  for (WorkingTransform* transform : transforms) parameters.remove_transform(*transform);
  for (ActivationPoint* point : model.activations) {
    hooks.push_back(point->hook());
    point->set_hook(nullptr);
  }
  const auto put_back = [&] {
    for (size_t i = 0; i < hooks.size(); ++i) model.activations[i]->set_hook(hooks[i]);
    for (WorkingTransform* transform : transforms) parameters.add_transform(*transform);
  };
  try {
    work();
  } catch (...) {
    put_back();
    throw;
  }
  put_back();
}

}  // namespace wattle
