#include "scheduler/daemon/keeping/housekeeping.h"

#include <algorithm>
#include <iterator>
#include <limits>

namespace wattle::scheduler {
namespace {

constexpr double kSweepSeconds = 3600;
/// An upload that nobody has named for so long never will be.
constexpr double kUnnamedSeconds = 86400;

bool is_unfinished(const State& state, JobId id) {
  const auto job = state.jobs.find(id);
  return job != state.jobs.end() && !is_finished(job->second.state);
}

}  // namespace

// What is on the disk is listed first and looked up in the core then: the core knows first of all
// that is new.

Housekeeping::Housekeeping(JournalledCore& core, const FileStore& files, JobLogs& logs,
                           double history_seconds)
    : core_(core), files_(files), logs_(logs), history_seconds_(history_seconds) {}

void Housekeeping::run() {
  drop_checkpoints_of_ended_jobs();
  remove_dropped_files();
  if (file_seconds() < swept_seconds_ + kSweepSeconds) return;
  swept_seconds_ = file_seconds();
  remove_logs_of_forgotten_jobs();
  forget_submissions();
  remove_unused_files();
  disown_removed_files();
}

void Housekeeping::drop_checkpoints_of_ended_jobs() {
  std::vector<int64_t> jobs =
      core_.read_store([](Store& store) { return store.checkpointed_jobs(); });
  core_.read([&](const Core& core) {
    std::erase_if(jobs, [&](int64_t id) { return is_unfinished(core.state(), id); });
  });
  for (const int64_t job : jobs) {
    core_.read_store([&](Store& store) { store.drop_checkpoint(job); });
  }
}

void Housekeeping::remove_dropped_files() {
  std::vector<DroppedFile> dropped, unused;
  core_.read_store([&](Store& store) {
    dropped = store.dropped_files();
    if (dropped.empty()) return;
    const std::set<std::string> in_use = store.checkpoint_contents();
    std::ranges::copy_if(dropped, std::back_inserter(unused), [&](const DroppedFile& file) {
      return !in_use.contains(file.sha256) && !store.is_owned(file.sha256) &&
             !store.is_waiting(file.sha256);
    });
  });
  // Whoever wants one of them meanwhile sends it again, and so it is renewed.
  for (const DroppedFile& file : unused) files_.remove(file.sha256, file.reported_seconds);
  if (dropped.empty()) return;
  core_.read_store([&](Store& store) { store.forget_dropped(dropped); });
}

void Housekeeping::remove_logs_of_forgotten_jobs() {
  std::set<int64_t> jobs = logs_.jobs();
  core_.read([&](const Core& core) {
    std::erase_if(jobs, [&](int64_t id) { return core.state().jobs.contains(id); });
  });
  for (const int64_t job : jobs) logs_.remove(job);
}

/// Looks at the core with the store locked: a request that comes again meanwhile is in the core
/// before it is in the store.
void Housekeeping::forget_submissions() {
  const std::vector<std::string> requests =
      core_.read_store([](Store& store) { return store.requests(); });
  for (const std::string& request : requests) {
    core_.read_store([&](Store& store) {
      const bool is_known = core_.read(
          [&](const Core& core) { return core.state().jobs_of_request.contains(request); });
      if (!is_known) store.forget_submission(request);
    });
  }
}

void Housekeeping::remove_unused_files() {
  std::set<std::string> requests;
  core_.read([&](const Core& core) {
    for (const auto& [id, job] : core.state().jobs) {
      if (!is_finished(job.state)) requests.insert(job.submit_id);
    }
  });
  std::set<std::string> in_use =
      core_.read_store([](Store& store) { return store.checkpoint_contents(); });
  for (const std::string& request : requests) {
    const auto submission =
        core_.read_store([&](Store& store) { return store.submission(request); });
    if (!submission) continue;
    for (const StoredFile& input : submission->inputs) in_use.insert(input.sha256);
  }
  const double now = file_seconds();
  files_.remove_all([&](const std::string& sha256) {
    if (in_use.contains(sha256)) return -std::numeric_limits<double>::infinity();
    const bool is_owned = core_.read_store([&](Store& store) { return store.is_owned(sha256); });
    return now - (is_owned ? history_seconds_ : kUnnamedSeconds);
  });
}

/// Looks for the file with the store locked: one that comes again is there before it has an owner.
void Housekeeping::disown_removed_files() {
  const std::vector<std::string> files =
      core_.read_store([](Store& store) { return store.owned_files(); });
  for (const std::string& sha256 : files) {
    core_.read_store([&](Store& store) {
      if (!files_.has(sha256)) store.disown_file(sha256);
    });
  }
}

}  // namespace wattle::scheduler
