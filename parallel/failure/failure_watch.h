#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "parallel/communicator.h"
#include "parallel/descriptor.h"
#include "parallel/failure/peer_processes.h"

namespace wattle {

/// Why a job ends.
struct FailureCause {
  std::string component;
  std::string message;
  int exit_code = 1;
  /// The message stands for itself: it names a file and line, and is the same on every rank.
  bool bare = false;
};

/// The part of FailureGuard that sleeps in a thread until a peer ends or a signal comes, and the
/// one claim to the first cause. SIGTERM and SIGUSR1 must be blocked in all threads.
class FailureWatch {
 public:
  /// Collective.
  explicit FailureWatch(Communicator& world);
  ~FailureWatch();
  FailureWatch(const FailureWatch&) = delete;
  FailureWatch& operator=(const FailureWatch&) = delete;

  /// `first_rank` removes the error.json of an earlier attempt and sets disk space aside for a new
  /// one, in output_dir/.error.json, so that a full disk can be told there as well.
  void set_output_dir(const std::string& output_dir, bool first_rank);

  /// Returns once this rank's cause is the job's first and stands printed, as the last line of any
  /// rank of the host; ends the process, silently, if another cause was first.
  void report(const FailureCause& cause);

  /// From here on a peer that ends has done its work.
  void peers_may_end() { peers_may_end_ = true; }
  bool stop_requested() const { return stop_requested_; }

 private:
  struct HostClaim;

  void watch();
  void on_signal();
  void on_peer_ended();
  HostClaim& claim_of(int local_rank);
  bool is_claimed();
  bool take_claim(int exit_code);
  void reserve();
  std::string reserve_path() const;
  bool write_error_file(const FailureCause& cause);
  void silence_peers();
  /// Ends the process without another word, once its other thread has said its own.
  [[noreturn]] void end_silently();
  [[noreturn]] void end_without_claim();

  const int rank_;
  const int ranks_;
  PeerProcesses peers_;
  std::unique_ptr<Communicator> host_;
  std::unique_ptr<SharedMemory> memory_;
  Descriptor signals_;
  Descriptor wake_;
  std::mutex report_mutex_;  ///< the thread that reports is not to be ended by the other
  std::mutex output_dir_mutex_;
  std::string output_dir_;
  bool has_reserve_ = false;
  std::atomic<bool> peers_may_end_ = false;
  std::atomic<bool> stop_requested_ = false;
  std::thread thread_;
};

}  // namespace wattle
