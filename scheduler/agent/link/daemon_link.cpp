#include "scheduler/agent/link/daemon_link.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "scheduler/rpc/agent.grpc.pb.h"

namespace wattle::agent {
namespace {

using namespace std::chrono_literals;

constexpr auto kFirstPause = 100ms;
constexpr auto kLongestPause = 5000ms;
constexpr auto kConnectTime = 10s;
constexpr auto kConnectSlice = 500ms;

std::string words_of(const grpc::Status& status) {
  if (status.ok()) return "the daemon closed the stream";
  return fmt::format("{} (code {})", status.error_message(), static_cast<int>(status.error_code()));
}

}  // namespace

struct DaemonLink::Stream {
  int64_t number = 0;
  grpc::ClientContext context;
  std::unique_ptr<v1::Agent::Stub> stub;
  std::unique_ptr<grpc::ClientReaderWriter<v1::AgentMessage, v1::Command>> rpc;
};

DaemonLink::DaemonLink(std::shared_ptr<grpc::Channel> channel,
                       std::function<void(LinkEvent)> on_event)
    : channel_(std::move(channel)), on_event_(std::move(on_event)), thread_([this] { run(); }) {}

DaemonLink::~DaemonLink() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
    if (stream_) stream_->context.TryCancel();
  }
  wake_.notify_all();
  thread_.join();
}

void DaemonLink::run() {
  std::mt19937 random{std::random_device{}()};
  auto pause = kFirstPause;
  while (true) {
    auto stream = std::make_shared<Stream>();
    {
      const std::lock_guard lock(mutex_);
      if (is_stopping_) return;
      stream->number = ++last_stream_;
      stream_ = stream;
      outgoing_.clear();
      was_useful_ = false;
    }
    serve(stream);
    std::unique_lock lock(mutex_);
    stream_.reset();
    pause = was_useful_ ? kFirstPause : std::min(2 * pause, kLongestPause);
    std::uniform_int_distribution<int> share(50, 100);
    wake_.wait_for(lock, pause * share(random) / 100, [this] { return is_stopping_; });
  }
}

/// Nobody but a waiting call moves a connection on (gRPC polls an idle channel every five seconds,
/// which no handshake survives): the connection is waited for before the call.
bool DaemonLink::connect() {
  for (std::chrono::milliseconds waited{0}; waited < kConnectTime; waited += kConnectSlice) {
    if (channel_->WaitForConnected(std::chrono::system_clock::now() + kConnectSlice)) return true;
    const std::lock_guard lock(mutex_);
    if (is_stopping_) break;
  }
  return false;
}

void DaemonLink::serve(const std::shared_ptr<Stream>& stream) {
  if (!connect()) {
    on_event_(LinkBroken{stream->number, "the daemon can't be reached"});
    return;
  }
  stream->stub = v1::Agent::NewStub(channel_);
  stream->rpc = stream->stub->Attach(&stream->context);
  on_event_(LinkOpened{stream->number});
  std::thread writer([this, stream] { write_all(*stream); });
  LinkCommand received{stream->number, {}};
  while (stream->rpc->Read(&received.command)) {
    {
      const std::lock_guard lock(mutex_);
      was_useful_ = true;
    }
    on_event_(received);
  }
  {
    const std::lock_guard lock(mutex_);
    stream_.reset();
  }
  // Nothing can be read any more: the call is over. To cancel it first could hide why.
  const grpc::Status status = stream->rpc->Finish();
  stream->context.TryCancel();  // or a write might wait for ever
  wake_.notify_all();
  writer.join();
  on_event_(LinkBroken{stream->number, words_of(status)});
}

void DaemonLink::write_all(Stream& stream) {
  while (true) {
    v1::AgentMessage message;
    {
      std::unique_lock lock(mutex_);
      const auto is_mine = [&] { return stream_.get() == &stream; };
      wake_.wait(lock, [&] { return !is_mine() || !outgoing_.empty(); });
      if (!is_mine()) return;
      message = std::move(outgoing_.front());
      outgoing_.pop_front();
    }
    if (!stream.rpc->Write(message)) {
      stream.context.TryCancel();
      return;
    }
  }
}

void DaemonLink::send(int64_t stream, v1::AgentMessage message) {
  {
    const std::lock_guard lock(mutex_);
    if (!stream_ || stream_->number != stream) return;
    outgoing_.push_back(std::move(message));
  }
  wake_.notify_all();
}

bool DaemonLink::has_room(int64_t stream, size_t most) const {
  const std::lock_guard lock(mutex_);
  return stream_ && stream_->number == stream && outgoing_.size() < most;
}

void DaemonLink::drop(int64_t stream) {
  const std::lock_guard lock(mutex_);
  if (stream_ && stream_->number == stream) stream_->context.TryCancel();
}

}  // namespace wattle::agent
