#pragma once

#include <cstdint>
#include <vector>

#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/files/tensor_slice.h"
#include "trainer/nn/model.h"
#include "trainer/state/flat_parameters.h"
#include "trainer/state/optimizer/optimizer.h"

namespace wattle {

/// Where a parameter that is split over ranks lies in the whole one. The default is all of it.
struct Placement {
  std::vector<int64_t> global_shape;
  std::vector<int64_t> offset;
};

/// What of a run's tensors goes into a checkpoint, and comes back out of it.
struct TrainingState {
  FlatParameters& parameters;
  Optimizer& optimizer;
  std::vector<Buffer>& buffers;
  /// By the parameters' index; empty: all of them are whole.
  std::vector<Placement> placements = {};
  /// The bytes of small files, [bytes] uint8 each, that are kept with the model; never changed.
  std::vector<NamedTensor> files = {};
};

/// The part of a flat buffer of `numel` elements that replica `rank` of `size` writes, so that each
/// byte is written once; cut at multiples of FlatLayout::kAlignment.
FlatRange even_share(int64_t numel, int rank, int size);

/// The slices of the state that lie in `share` of the flat buffers:
///   "model.<parameter>", "optimizer.<state>.<parameter>" (within the optimizer's own range too),
///   "transform.<transform>.<tensor>" and "buffer.<buffer>": whole, with the share that begins at
///   0.
/// To restore: the whole buffer; then call parameters.publish().
std::vector<TensorSlice> slices_of(TrainingState& state, FlatRange share);

/// What a checkpoint of this rank holds: those of its share (the optimizer's range where that is
/// sharded), and "file.<file>" with the share that begins at 0.
std::vector<TensorSlice> slices_to_save(TrainingState& state, FlatRange share);

/// Puts the parameters and buffers of a checkpoint into a model by their names, converting their
/// type, before FlatParameters takes them over; what else the checkpoint holds is ignored. Throws
/// Error(kFormat) that names the first parameter that is missing or of another shape.
void load_weights(const CheckpointReader& checkpoint, Model& model,
                  const std::vector<Placement>& placements = {});

}  // namespace wattle
