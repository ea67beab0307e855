#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scheduler/agent/files/file_transfer.h"
#include "scheduler/agent/settings.h"
#include "scheduler/rpc/agent.pb.h"

namespace wattle::agent {

/// Where the files of a run of a job are.
struct JobFiles {
  std::string folder;      ///< the job's, kept from run to run
  std::string output_dir;  ///< the trainer's, below it

  std::string control_file() const { return output_dir + "/control.json"; }
  std::string metrics_file() const { return output_dir + "/metrics.jsonl"; }
  /// The output folder of the run that a section `float_run:` trains first.
  std::string float_run() const { return output_dir + "/float"; }
  std::string float_metrics_file() const { return float_run() + "/metrics.jsonl"; }
};

/// Reads run.output_dir from the launch's YAML and overrides. Throws Error(kConfig) if there is
/// none, or if it is not inside the job's folder.
JobFiles job_files(const Settings& settings, const v1::Launch& launch);

/// Makes a folder that belongs to the jobs' account alone, if it is not there. Throws Error(kIo).
void make_folder(const std::string& path, const std::optional<Account>& account);

/// Makes the job's folder and puts everything there that the run needs: run.yaml, inputs, the
/// checkpoint. What is there already is left as it is. Where nodes share the folder, the run's
/// first node does it for all: mpirun, which starts the others' ranks, starts after it. Throws what
/// FileTransfer::fetch() does, also when `gives_up` becomes true meanwhile.
void prepare(const JobFiles& files, const Settings& settings, const v1::Launch& launch,
             const FileTransfer& transfer, const std::atomic<bool>& gives_up);

/// Steps of the newest checkpoint of an output folder; 0 without one.
int64_t steps_in(const std::string& output_dir, const std::optional<Account>& account);

/// The newest whole checkpoint (its files first) and what a run needs besides to go on from it, its
/// float run too, as paths below the job's folder; empty if there is none.
std::vector<std::string> checkpoint_paths(const JobFiles& files,
                                          const std::optional<Account>& account);

}  // namespace wattle::agent
