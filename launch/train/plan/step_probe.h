#pragma once

#include <cstdint>
#include <string>

#include "launch/train/run_session.h"

namespace wattle {

/// What a few steps of one micro-batch came to, on one rank alone.
struct ProbedStep {
  int64_t steps = 0;               ///< timed
  double micro_batch_seconds = 0;  ///< data, forward and backward of one micro-batch
  double update_seconds = 0;       ///< what a step takes besides: norm, clipping, update
  double copied_bytes_per_s = 0;   ///< of large copies within this host's memory
  int64_t activation_bytes = 0;    ///< the most that forward and backward held besides the state
  double power_watts = 0;          ///< while it ran, idle power included; 0: unknown
  double idle_watts = 0;           ///< the host's part of it without work; 0: unknown
  std::string energy_source;       ///< label of what said so
};

/// Trains the replica, with a learning rate of 0, on micro-batches of `micro_batch` samples with
/// the threads that this process has, for half a second or one step, whichever is longer. The first
/// step, in which memory is allocated and kernels are chosen, is not timed unless it takes more
/// than two seconds by itself.
/// `alone` is a communicator of one rank.
ProbedStep probe_step(const RunConfig& config, Communicator& alone, Replica& replica,
                      const Dataset& dataset, int64_t micro_batch);

}  // namespace wattle
