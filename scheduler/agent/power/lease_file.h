#pragma once

#include <string>

namespace wattle::agent {

/// Until when this node may use what it was given. Times of boot_seconds(); 0 = never had any.
struct Lease {
  double watts_until = 0;  ///< then every device falls to its safe limit
  double runs_until = 0;   ///< then nothing of any run is left
};

/// When a cut-off run is told to save a checkpoint: `stop_seconds` before it has to be over. Late
/// enough for a stream that is only interrupted: not in the first third of the grace.
double stop_time(const Lease& lease, double stop_seconds);

/// The node's lease, in a file that the agent writes and the keepers of its runs read: they hold to
/// it also when the agent is dead. Mapped memory: a renewal costs no system call. A file of an
/// earlier boot counts as run out.
///
/// A run has one of its own for its joules: both times are when, at its limit, it has used them.
///
/// Threading: one writer; any number of readers, in any process.
class LeaseFile {
 public:
  enum class Access { kRead, kWrite };

  /// Opens the file; kWrite makes it if need be. Throws Error(kIo), naming the path.
  LeaseFile(const std::string& path, Access access);
  ~LeaseFile();
  LeaseFile(const LeaseFile&) = delete;
  LeaseFile& operator=(const LeaseFile&) = delete;

  void renew(const Lease& lease);
  Lease read() const;

 private:
  struct Content;
  Content* content_ = nullptr;
};

}  // namespace wattle::agent
