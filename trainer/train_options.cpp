#include "trainer/train_options.h"

#include "trainer/data/order/batch_plan.h"

namespace wattle {

void RunOptions::describe(Fields& f) {
  f("name", name, "what the run is called in reports and by the scheduler")
      .default_is("the name of the output directory");
  f("seed", seed, "seed of initial weights, order of samples and dropout");
  f("output_dir", output_dir, "folder of all that the run writes").required();
  f.choice(
      "resume", resume, {{"auto", Resume::kAuto}, {"never", Resume::kNever}},
      "auto: go on from the newest whole checkpoint in output_dir; never: refuse a folder that "
      "holds one");
  f("deterministic", deterministic,
    "the same bits on every number of ranks: gradients are reduced in the order of micro-batches "
    "and threads per rank are fixed; needs train.micro_batch");
  f("threads", threads,
    "threads of a rank; 0 follows the affinity mask (1 where run.deterministic is true)")
      .at_least(0);
  f.check([this](Checker& c) {
    c.require(!output_dir.empty(), "output_dir", "is empty; expected the name of a folder");
  });
}

void EarlyStopOptions::describe(Fields& f) {
  f("patience", patience, "evaluations without improvement before training stops").at_least(1);
  f("min_improvement", min_improvement, "how much lower a validation loss must be to count")
      .at_least(0);
}

namespace {

void check(const TrainOptions& o, Checker& c) {
  c.require(o.steps.has_value() || o.epochs.has_value(), "steps", "give either steps or epochs");
  c.require(!(o.steps && o.epochs), "epochs", "give either steps or epochs, not both");
  c.require(!o.early_stop || o.eval_every, "early_stop", "needs eval_every");
  c.require(!o.micro_batch || *o.micro_batch <= o.global_batch, "micro_batch",
            "is larger than global_batch");
}

}  // namespace

void TrainOptions::describe(Fields& f) {
  f("steps", steps, "optimizer steps; give either steps or epochs").at_least(1).at_most(kMostSteps);
  f("epochs", epochs, "passes over the training data").at_least(1);
  f("global_batch", global_batch, "samples a step over all ranks")
      .at_least(1)
      .at_most(1 << 30)
      .unit("samples");
  f("micro_batch", micro_batch, "samples a forward pass of one rank")
      .at_least(1)
      .unit("samples")
      .default_is("the largest divisor of the batch per rank up to 8");
  f.choice("precision", precision,
           {{"fp32", Precision::kFp32}, {"bf16", Precision::kBf16}, {"fp64", Precision::kFp64}},
           "of forward and backward; bf16 keeps float32 master weights; fp64 is for tests");
  f("grad_clip", grad_clip, "largest global gradient norm; absent means no clipping")
      .greater_than(0);
  f("eval_every", eval_every, "steps between evaluations; absent means at the end only")
      .at_least(1)
      .unit("steps");
  f("early_stop", early_stop, "stop when the validation loss no longer improves");
  f.choice(
      "on_non_finite", on_non_finite, {{"error", NonFinite::kError}, {"skip", NonFinite::kSkip}},
      "a loss or gradient that is NaN or infinite: end with an error, or leave that update out, "
      "counted and logged");
  f("max_skipped_steps", max_skipped_steps, "skipped updates in a row that are an error after all")
      .at_least(0)
      .unit("steps");
  f("efficiency_steps", efficiency_steps,
    "steps of rank 0 alone, timed before training, for the report's speed-up and parallel "
    "efficiency; 0 leaves them out")
      .at_least(0)
      .unit("steps");
  f("trace_every", trace_every,
    "every so many steps forward and backward are followed through the layer kinds, for joules by "
    "layer kind; 0 never")
      .at_least(0)
      .unit("steps");
  f.check([this](Checker& c) { check(*this, c); });
}

void TextSampleOptions::describe(Fields& f) {
  f("prompt", prompt, "text to go on from");
  f("tokens", tokens, "tokens to generate").at_least(1).unit("tokens");
  f("temperature", temperature, "of sampling; 0 takes the likeliest token").at_least(0);
}

}  // namespace wattle
