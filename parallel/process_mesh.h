#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "parallel/communicator.h"
#include "parallel/parallelism_options.h"

namespace wattle {

/// The axes of a mesh from the outermost to the innermost: ranks that are neighbours in MPI's
/// order, so on one host where possible, differ in the last ones, which communicate most.
enum class Axis { kPipeline, kData, kContext, kExpert, kTensor };

/// The ranks of a job as a grid, one axis for each kind of parallelism. A value, the same on every
/// rank but for the coordinates.
class ProcessMesh {
 public:
  static constexpr int kAxes = 5;

  /// Rank `rank` of `ranks`. A data axis of -1 takes what the others leave. Throws Error(kConfig)
  /// with the arithmetic if the axes' product is not `ranks`.
  ProcessMesh(const ParallelismOptions& options, int ranks, int rank);

  int ranks() const { return ranks_; }
  int64_t size(Axis axis) const { return sizes_[static_cast<int>(axis)]; }
  /// This rank's place on the axis.
  int64_t coordinate(Axis axis) const { return coordinates_[static_cast<int>(axis)]; }

  /// The ranks that differ from this one along `axis` alone, in its order. Collective over `world`,
  /// the communicator of all the mesh's ranks.
  std::unique_ptr<Communicator> group(Communicator& world, Axis axis) const;

  /// "4 ranks = pipeline 1 x data 4 x context 1 x expert 1 x tensor 1".
  std::string to_string() const;

 private:
  int ranks_;
  int rank_;
  std::array<int64_t, kAxes> sizes_;
  std::array<int64_t, kAxes> coordinates_;
};

}  // namespace wattle
