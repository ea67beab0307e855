#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace wattle {

struct ThreadOptions {
  /// Per rank; 0: as many as the rank has cores.
  int64_t threads = 0;
  /// Binds this thread, and those it starts later, to the rank's cores.
  bool pin = false;
};

/// What a rank may compute on: its part of the cores that the affinity masks allow.
struct CoreShare {
  std::vector<int> cores;
  /// Whether other ranks have none of these cores.
  bool exclusive = true;
};

/// Deals out a host's cores: `masks[i]` are the cores that rank i of the host may run on. Cores
/// that several ranks may use are parted among them, so that two ranks with the same two cores get
/// one each. A rank that is left without takes one of its mask with others (then both are not
/// exclusive). Every mask must have a core.
std::vector<CoreShare> deal_cores(const std::vector<std::vector<int>>& masks);

/// The cores that this thread may run on, ascending. Throws Error(kIo).
std::vector<int> affinity_mask();

/// Sets the threads that LibTorch computes with in this process to the rank's share of its host's
/// cores (or to options.threads, or to OMP_NUM_THREADS where the environment has it and options
/// don't), and pins if asked. Call it in the thread that trains, before any computation. Collective
/// over all ranks of the job, by CPU tensors. Returns what it did in words for the log: "1 thread,
/// pinned to core 0". Throws Error(kConfig) if OMP_NUM_THREADS is no number above 0.
std::string set_threads(Communicator& world, const ThreadOptions& options);

}  // namespace wattle
