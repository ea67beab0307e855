#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>

#include "scheduler/rpc/agent.pb.h"

namespace grpc {
class Channel;
}

namespace wattle::agent {

/// A new stream is there and waits for the registration.
struct LinkOpened {
  int64_t stream = 0;
};
/// The stream is gone; another is tried after a while.
struct LinkBroken {
  int64_t stream = 0;
  std::string why;
};
/// What the daemon says on a stream.
struct LinkCommand {
  int64_t stream = 0;
  v1::Command command;
};
using LinkEvent = std::variant<LinkOpened, LinkBroken, LinkCommand>;

/// The one stream to the daemon, opened again and again with growing pauses (a tenth of a second to
/// five seconds, at random). Keepalives end a connection whose other side is silent.
///
/// `on_event` is called from threads of the link's own. The other members may be called from any
/// thread.
class DaemonLink {
 public:
  DaemonLink(std::shared_ptr<grpc::Channel> channel, std::function<void(LinkEvent)> on_event);
  ~DaemonLink();
  DaemonLink(const DaemonLink&) = delete;
  DaemonLink& operator=(const DaemonLink&) = delete;

  /// Sends in order, without waiting. What is sent on a stream that is not the present one is
  /// dropped: its like comes with the next registration.
  void send(int64_t stream, v1::AgentMessage message);
  /// Whether fewer messages than `most` wait to be sent on this stream, the present one.
  bool has_room(int64_t stream, size_t most) const;
  /// Ends a stream that seems to hang.
  void drop(int64_t stream);

 private:
  struct Stream;
  void run();
  bool connect();
  void serve(const std::shared_ptr<Stream>& stream);
  void write_all(Stream& stream);

  std::shared_ptr<grpc::Channel> channel_;
  std::function<void(LinkEvent)> on_event_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool is_stopping_ = false;
  bool was_useful_ = false;
  int64_t last_stream_ = 0;
  std::shared_ptr<Stream> stream_;
  std::deque<v1::AgentMessage> outgoing_;
  std::thread thread_;
};

}  // namespace wattle::agent
