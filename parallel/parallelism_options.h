#pragma once

#include <cstdint>

#include "common/config/schema.h"

namespace wattle {

enum class PipelineSchedule { kOneForwardOneBackward, kGpipe, kInterleaved, kZbH1, kZbV, kAuto };
enum class Recompute { kNone, kSelective, kFull };
enum class Backend { kAuto, kMpi, kNccl };

/// The section `parallelism:`: how a job's ranks share the work. This version honours `data` and
/// `backend`; any other key away from its default is an error.
struct ParallelismOptions {
  int64_t data = -1;
  int64_t tensor = 1;
  int64_t pipeline = 1;
  int64_t context = 1;
  int64_t expert = 1;
  int64_t zero = 0;
  bool sequence_parallel = true;
  PipelineSchedule schedule = PipelineSchedule::kOneForwardOneBackward;
  Recompute recompute = Recompute::kNone;
  Backend backend = Backend::kAuto;

  void describe(Fields& f);
};

}  // namespace wattle
