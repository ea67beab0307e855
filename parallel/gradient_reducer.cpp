#include "parallel/gradient_reducer.h"

#include "common/error.h"
#include "parallel/reducers/communicator_reducer.h"

namespace wattle {

std::unique_ptr<GradientReducer> make_gradient_reducer(Communicator& communicator,
                                                       const FlatLayout& layout,
                                                       at::ScalarType type,
                                                       const ReducerOptions& options) {
  if (options.deterministic) {
    throw Error(ErrorCode::kUnsupported, "gradient reducer: deterministic sums are not built yet");
  }
  return make_communicator_reducer(communicator, layout, type, options);
}

}  // namespace wattle
