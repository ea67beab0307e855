#include "trainer/checkpoint/training_state.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>

namespace wattle {
namespace {

Region region_of(const std::vector<Placement>& placements, int64_t index,
                 const std::vector<int64_t>& shape) {
  Region region = Region::whole(shape);
  if (!placements.empty() && !placements[index].global_shape.empty()) {
    region.global_shape = placements[index].global_shape;
    region.box_offset = placements[index].offset;
  }
  return region;
}

/// Adds what of each parameter lies in `range` of a flat buffer; `flat` holds that range alone.
void add_flat(const TrainingState& state, const std::string& prefix, const at::Tensor& flat,
              FlatRange stored, FlatRange share, std::vector<TensorSlice>& slices) {
  const FlatRange range{std::max(stored.begin, share.begin), std::min(stored.end, share.end)};
  const std::vector<Parameter*>& parameters = state.parameters.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const FlatLayout::Span& span = state.parameters.layout().spans[i];
    const int64_t begin = std::max(range.begin, span.offset);
    const int64_t end = std::min(range.end, span.offset + span.numel);
    if (begin >= end) continue;
    Region region = region_of(state.placements, i, parameters[i]->value().sizes().vec());
    region.begin = begin - span.offset;
    region.end = end - span.offset;
    slices.push_back({prefix + parameters[i]->name(), std::move(region),
                      flat.narrow(0, begin - stored.begin, end - begin)});
  }
}

}  // namespace

FlatRange even_share(int64_t numel, int rank, int size) {
  const auto cut = [&](int64_t share) {
    const int64_t units = numel / FlatLayout::kAlignment;
    return share == size ? numel : units * share / size * FlatLayout::kAlignment;
  };
  return {cut(rank), cut(rank + 1)};
}

std::vector<TensorSlice> slices_of(TrainingState& state, FlatRange share) {
  const at::NoGradGuard no_grad;
  std::vector<TensorSlice> slices;
  add_flat(state, "model.", state.parameters.master(), {0, state.parameters.layout().numel}, share,
           slices);
  for (const NamedTensor& flat : state.optimizer.state()) {
    add_flat(state, "optimizer." + flat.name + ".", flat.value, state.optimizer.range(), share,
             slices);
  }
  if (share.begin != 0 || share.end == 0) return slices;
  for (WorkingTransform* transform : state.parameters.transforms()) {
    for (const NamedTensor& tensor : transform->state()) {
      slices.push_back(
          TensorSlice::whole("transform." + transform->name() + "." + tensor.name, tensor.value));
    }
  }
  for (const Buffer& buffer : state.buffers) {
    slices.push_back(TensorSlice::whole("buffer." + buffer.name, buffer.value));
  }
  return slices;
}

std::vector<TensorSlice> slices_to_save(TrainingState& state, FlatRange share) {
  std::vector<TensorSlice> slices = slices_of(state, share);
  if (share.begin != 0 || share.end == 0) return slices;
  for (const NamedTensor& file : state.files) {
    slices.push_back(TensorSlice::whole("file." + file.name, file.value));
  }
  return slices;
}

void load_weights(const CheckpointReader& checkpoint, Model& model,
                  const std::vector<Placement>& placements) {
  const at::NoGradGuard no_grad;
  const auto load = [&](const std::string& name, Region region, at::Tensor target) {
    at::Tensor stored = at::empty({region.numel()}, checkpoint.type_of(name));
    checkpoint.read({{name, std::move(region), stored}});
    target.copy_(stored.view(target.sizes()));
  };
  for (size_t i = 0; i < model.parameters.size(); ++i) {
    const Parameter& parameter = *model.parameters[i];
    load("model." + parameter.name(), region_of(placements, i, parameter.value().sizes().vec()),
         parameter.value());
  }
  for (Buffer& buffer : model.buffers) {
    load("buffer." + buffer.name, Region::whole(buffer.value.sizes().vec()), buffer.value);
  }
}

}  // namespace wattle
