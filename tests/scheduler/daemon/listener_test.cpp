#include "scheduler/daemon/listening/listener.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "common/error.h"
#include "scheduler/daemon/listening/open_files.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

/// What a listener hands on.
class ListenerTest : public testing::Test {
 protected:
  ~ListenerTest() override {
    for (const int fd : ours_) ::close(fd);
    for (const int fd : taken_) ::close(fd);
  }

  Listener::Take take() {
    return [this](int connection, int listening) {
      const std::lock_guard lock(mutex_);
      taken_.push_back(connection);
      listening_ = listening;
      changed_.notify_all();
    };
  }

  int connect_to(int port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in place{};
    place.sin_family = AF_INET;
    place.sin_port = htons(static_cast<uint16_t>(port));
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&place), sizeof(place)), 0);
    ours_.push_back(fd);
    return fd;
  }

  bool await_taken(size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10),
                             [&] { return taken_.size() >= count; });
  }

  static bool is_closed_by_peer(int fd) {
    const timeval patience{10, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    char byte = 0;
    const ssize_t size = ::recv(fd, &byte, 1, 0);
    return size == 0 || (size < 0 && errno == ECONNRESET);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int> ours_, taken_;
  int listening_ = -1;
};

TEST_F(ListenerTest, HandsConnectionsOn) {
  for (const char* address : {"127.0.0.1:0", "localhost:0", "0.0.0.0:0", "[::]:0"}) {
    taken_.clear();
    Listener listener(address, 10000, take());
    connect_to(listener.port());
    EXPECT_TRUE(await_taken(1)) << address;
    EXPECT_EQ(listener.fault(), "");
  }
}

TEST_F(ListenerTest, ClosesWhatIsTooMuchAndGoesOn) {
  const int next = ::dup(0);  // the lowest number that is free, about
  ::close(next);
  Listener listener("127.0.0.1:0", next + 10, take());
  std::vector<int> connections;
  for (int i = 0; i < 20; ++i) connections.push_back(connect_to(listener.port()));
  EXPECT_TRUE(is_closed_by_peer(connections.back()));
  for (const int fd : ours_) ::close(fd);
  {
    const std::lock_guard lock(mutex_);
    for (const int fd : taken_) ::close(fd);
    taken_.clear(), ours_.clear();
  }
  connect_to(listener.port());
  EXPECT_TRUE(await_taken(1));
}

TEST_F(ListenerTest, SaysWhenNobodyCanConnectAnyMore) {
  Listener listener("127.0.0.1:0", 10000, take());
  connect_to(listener.port());
  ASSERT_TRUE(await_taken(1));
  ::shutdown(listening_, SHUT_RDWR);
  for (int tries = 0; tries < 1000 && listener.fault().empty(); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_THAT(listener.fault(), HasSubstr("accept: Invalid argument"));
}

TEST_F(ListenerTest, AnAddressThatIsTakenOrNobodysIsRefused) {
  const Listener first("127.0.0.1:0", 10000, take());
  const std::string taken = fmt::format("127.0.0.1:{}", first.port());
  for (const auto& [address, why] : {std::pair{taken, "Address already in use"},
                                     {std::string("192.0.2.1:0"), "Cannot assign"}}) {
    try {
      Listener(address, 10000, take());
      ADD_FAILURE() << address;
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr("listen: " + address + " can't be listened on"));
      EXPECT_THAT(e.what(), HasSubstr(why));
    }
  }
}

TEST(OpenFiles, AQuarterIsNotForConnections) {
  EXPECT_EQ(most_connections(kLeastOpenFiles), 3072);
  EXPECT_EQ(most_connections(1 << 30), kMostConnections);
}

}  // namespace
}  // namespace wattle::scheduler
