#pragma once

#include <memory>

#include "trainer/data/data_options.h"
#include "trainer/data/dataset.h"

namespace wattle {

/// What a run trains and evaluates on.
struct DataSource {
  std::unique_ptr<Dataset> train;       ///< null where only evaluation was asked for
  std::unique_ptr<Dataset> validation;  ///< null where data.validation is 0
};

enum class DataUse { kTrainAndEvaluate, kEvaluate };

/// Does once what opening needs on disk: turns texts into tokens. Rank 0 calls it first, then,
/// after a barrier, the others, who find it done unless they share no folder with rank 0; several
/// at once write the same bytes, each aside. Throws Error.
void prepare_data(const DataOptions& options, DataUse use);

/// Opens what `data:` and `evaluate:` say; the same on every rank. Throws Error(kIo), or
/// Error(kFormat) naming file and place, or Error(kConfig) if there are too few samples.
DataSource open_data(const DataOptions& options, const EvaluateOptions& evaluate, DataUse use);

}  // namespace wattle
