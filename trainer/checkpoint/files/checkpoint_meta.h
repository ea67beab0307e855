#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace wattle {

/// All of a run's state that is no tensor.
struct CheckpointMeta {
  int64_t step = 0;         ///< steps that are done
  int64_t samples = 0;      ///< consumed so far
  std::string stream_hash;  ///< of the samples consumed, as the loader writes it
  uint64_t seed = 0;
  int64_t attempt = 1;  ///< counts the starts of the run
  int ranks = 0;        ///< shards of this checkpoint; set by the Checkpointer
  /// What other parts keep here, JSON text by name: "energy" (the ledger), "model" (its shape),
  /// a callback's own.
  std::map<std::string, std::string> sections;
};

/// The section of checkpoints after which nothing of the training is left to do.
inline constexpr const char* kTrainingIsDone = "training_is_done";

/// meta.json as text, and back. Throw Error(kInternal) for a section that is no JSON,
/// Error(kFormat) or Error(kIo) that names the file.
std::string write_meta(const CheckpointMeta& meta);
CheckpointMeta read_meta(const std::filesystem::path& path);

}  // namespace wattle
