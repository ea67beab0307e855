#include "parallel/parallelism_options.h"

#include <gmock/gmock.h>

#include "common/config/config_file.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> errors_in(const std::string& text) {
  ParallelismOptions options;
  Diagnostics diagnostics;
  Fields fields = fields_of(options);
  read_config_text(text, "run.yaml", fields, {}, diagnostics);
  return diagnostics.errors();
}

TEST(ParallelismOptions, TakesWhatThisVersionHas) {
  EXPECT_THAT(errors_in("{data: 4, backend: mpi}"), IsEmpty());
  EXPECT_THAT(errors_in("{data: -1, tensor: 1, pipeline: 1, context: 1, expert: 1, zero: 0, "
                        "sequence_parallel: true, schedule: 1f1b, recompute: none, backend: auto}"),
              IsEmpty());
}

TEST(ParallelismOptions, NamesWhatThisVersionHasNot) {
  EXPECT_THAT(
      errors_in("tensor: 2\npipeline: 3\ncontext: 4\nexpert: 5\nzero: 1\n"
                "sequence_parallel: false\nschedule: zb-v\nrecompute: full\n"),
      ElementsAre(HasSubstr("run.yaml:1:9: tensor: 2 is not available in this version"),
                  HasSubstr("pipeline: 3 is not available"),
                  HasSubstr("context: 4 is not available"), HasSubstr("expert: 5 is not available"),
                  HasSubstr("zero: 1 is not available"), HasSubstr("sequence_parallel: "),
                  HasSubstr("schedule: pipeline parallelism is not available"),
                  HasSubstr("recompute: is not available")));
}

TEST(ParallelismOptions, RefusesRankCountsThatAreNone) {
  EXPECT_THAT(errors_in("data: 0"), ElementsAre(HasSubstr("expected -1 (all ranks)")));
  EXPECT_THAT(errors_in("tensor: 0"), ElementsAre(HasSubstr("at least 1")));
}

}  // namespace
}  // namespace wattle
