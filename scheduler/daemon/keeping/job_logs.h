#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

namespace wattle::scheduler {

/// What the runs of jobs print: `<folder>/<job>/<token>.log`, as the first node of each run sends
/// it. Any thread. Throws Error(kIo) naming the path.
class JobLogs {
 public:
  /// Of a run `most_bytes` are kept, and a line that says so.
  JobLogs(std::string folder, int64_t most_bytes);

  /// Appends what is new of a piece; a piece that begins beyond the end is dropped, for the agent
  /// goes on from size() when it registers again.
  void append(int64_t job, int64_t token, int64_t offset, std::string_view data);
  int64_t size(int64_t job, int64_t token) const;
  /// At most `most` bytes of all runs of the job, one after the other, from `offset` on.
  std::string read(int64_t job, int64_t offset, size_t most) const;
  int64_t total(int64_t job) const;
  /// The jobs that have any.
  std::set<int64_t> jobs() const;
  void remove(int64_t job);

 private:
  std::map<int64_t, std::string> runs_of(int64_t job) const;

  std::string folder_;
  int64_t most_bytes_;
  mutable std::mutex mutex_;
};

}  // namespace wattle::scheduler
