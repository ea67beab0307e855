#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "scheduler/daemon/journal/journalled_core.h"
#include "scheduler/daemon/keeping/job_logs.h"
#include "scheduler/store/file_store.h"

namespace wattle::scheduler {

/// Removes from the daemon's disk what nothing needs any more:
///
///   at once        a checkpoint when a newer one is stored, or its job has ended
///   once an hour   what was uploaded and no job has named, after a day; and of what has not been
///                  used for the length of the history: inputs of jobs that have ended, logs and
///                  files of jobs that the core has forgotten
///
/// One thread.
class Housekeeping {
 public:
  Housekeeping(JournalledCore& core, const FileStore& files, JobLogs& logs, double history_seconds);

  /// Throws Error(kIo), having removed what it could.
  void run();

 private:
  void drop_checkpoints_of_ended_jobs();
  void remove_dropped_files();
  void remove_logs_of_forgotten_jobs();
  void forget_submissions();
  void remove_unused_files();
  void disown_removed_files();

  JournalledCore& core_;
  const FileStore& files_;
  JobLogs& logs_;
  double history_seconds_;
  double swept_seconds_ = 0;
};

}  // namespace wattle::scheduler
