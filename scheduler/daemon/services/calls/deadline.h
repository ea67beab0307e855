#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace grpc {
class ServerContext;
}

namespace wattle::scheduler {

/// Cancels a call in which nothing has happened for a while: a thread that waits for a client's
/// next message comes back. gRPC then tells the client CANCELLED, whatever the service says.
class Deadline {
 public:
  Deadline(grpc::ServerContext& context, std::chrono::milliseconds time);
  ~Deadline();
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  /// Something has happened: the time begins anew. False if it was over already.
  bool renew();

 private:
  void watch(grpc::ServerContext& context);

  std::chrono::milliseconds time_;
  std::mutex mutex_;
  std::condition_variable ended_;
  std::chrono::steady_clock::time_point until_;
  bool has_passed_ = false, has_ended_ = false;
  std::thread thread_;
};

}  // namespace wattle::scheduler
