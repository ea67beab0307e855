#include "parallel/parallelism_options.h"

namespace wattle {
namespace {

const char kDataOnly[] = "is not available in this version, which knows data parallelism alone";

void check(const ParallelismOptions& options, Checker& c) {
  c.require(options.data == -1 || options.data >= 1, "data",
            "expected -1 (all ranks) or at least 1, got " + std::to_string(options.data));
  const auto only = [&](const char* key, int64_t value, int64_t standard) {
    c.require(
        value == standard, key,
        std::to_string(value) + " " + kDataOnly + ": leave it at " + std::to_string(standard));
  };
  only("tensor", options.tensor, 1);
  only("pipeline", options.pipeline, 1);
  only("context", options.context, 1);
  only("expert", options.expert, 1);
  only("zero", options.zero, 0);
  c.require(options.sequence_parallel, "sequence_parallel",
            std::string("false has no meaning without tensor parallelism, which ") + kDataOnly);
  c.require(options.schedule == PipelineSchedule::kOneForwardOneBackward, "schedule",
            std::string("pipeline parallelism ") + kDataOnly + ": leave it at 1f1b");
  c.require(options.recompute == Recompute::kNone, "recompute",
            "is not available in this version: leave it at none");
}

}  // namespace

void ParallelismOptions::describe(Fields& f) {
  f("data", data, "ranks that each train on their share of a batch; -1: all that are left")
      .unit("ranks");
  f("tensor", tensor, "ranks that share each layer's matrices").unit("ranks").at_least(1);
  f("pipeline", pipeline, "ranks that hold consecutive layers").unit("ranks").at_least(1);
  f("context", context, "ranks that share each sequence").unit("ranks").at_least(1);
  f("expert", expert, "ranks that share a layer's experts").unit("ranks").at_least(1);
  f("zero", zero,
    "what is sharded over data ranks: 1 optimizer state, 2 and gradients, 3 and "
    "parameters")
      .at_least(0)
      .at_most(3);
  f("sequence_parallel", sequence_parallel,
    "with tensor > 1: norms and dropout work on shards of the sequence");
  f.choice("schedule", schedule,
           {{"1f1b", PipelineSchedule::kOneForwardOneBackward},
            {"gpipe", PipelineSchedule::kGpipe},
            {"interleaved", PipelineSchedule::kInterleaved},
            {"zb-h1", PipelineSchedule::kZbH1},
            {"zb-v", PipelineSchedule::kZbV},
            {"auto", PipelineSchedule::kAuto}},
           "order of a pipeline's forward and backward passes");
  f.choice("recompute", recompute,
           {{"none", Recompute::kNone},
            {"selective", Recompute::kSelective},
            {"full", Recompute::kFull}},
           "activations that backward computes anew rather than keep");
  f.choice("backend", backend,
           {{"auto", Backend::kAuto}, {"mpi", Backend::kMpi}, {"nccl", Backend::kNccl}},
           "what moves tensors between ranks; auto: mpi for CPUs, nccl for GPUs");
  f.check([this](Checker& c) { check(*this, c); });
}

}  // namespace wattle
