#pragma once

#include <exception>
#include <map>
#include <string>
#include <vector>

#include "compression/deployment.h"
#include "formats/gguf/gguf.h"
#include "launch/train/config/run_config.h"
#include "trainer/nn/model.h"
#include "trainer/state/named_tensor.h"

namespace wattle {

/// A model on its way into files.
struct ExportedModel {
  const ModelOptions& options;
  Model& model;
  /// By their names: quantised weights as forward reads them, all others in the master's precision.
  std::vector<NamedTensor> parameters;
  const Deployment& deployment;                      ///< the quantised weights before rounding
  const std::string& compression_ledger;             ///< "" without
  const GgufMetadata& tokenizer;                     ///< keys "tokenizer.*"; none if none is known
  const std::map<std::string, std::string>& inputs;  ///< as input_metadata() has it
};

/// What has become of a run's exports.
struct ExportedFiles {
  std::vector<std::string> paths;  ///< files and folders that were written
  std::exception_ptr failure;      ///< the first; null where all were written
  std::string why;                 ///< its message
};

/// Writes what `export:` lists, below output_dir/export where the paths are relative, and the
/// compression ledger beside it. Names each file on standard error; what can't be written keeps
/// nothing else from being written. One rank.
ExportedFiles write_exports(const RunConfig& config, const ExportedModel& exported);

/// That what `export:` lists can be written where it is to be, tried with files that are removed
/// again: before training. Makes the folders above. Throws Error(kIo) naming key and place. One
/// rank.
void check_export_places(const RunConfig& config);

/// What else would be refused after training: rows that a type of GGUF can't hold, an embedding
/// that is quantised for compressed-tensors. Throws Error(kConfig), before training.
void check_export_rows(const RunConfig& config, const Model& model);

}  // namespace wattle
