#include "scheduler/agent/remote/remote_door.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <set>

#include "scheduler/agent/remote/socket_path.h"
#include "scheduler/agent/runs/job_command.h"
#include "tests/support/scratch_folder.h"

namespace wattle::agent {
namespace {

/// mpirun's helper for one host.
class Helper {
 public:
  Helper(const std::string& folder, const std::string& name, int host) {
    const SocketPath path(folder, name);
    const sockaddr_un address = path.address();
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    is_in_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    const std::string asked = fmt::format("{{\"host\": {}, \"argv\": [\"orted\"]}}\n", host);
    is_in_ = is_in_ && ::write(fd_, asked.data(), asked.size()) == std::ssize(asked);
  }
  ~Helper() { ::close(fd_); }
  bool is_in() const { return is_in_; }

 private:
  int fd_ = -1;
  bool is_in_ = false;
};

TEST(RemoteDoor, AHelperForEachHostComesIn) {
  constexpr int kHosts = 300;
  const ScratchFolder folder;
  RemoteDoor door(folder.path(""), "door", kHosts, std::nullopt);
  std::vector<std::unique_ptr<Helper>> helpers;
  for (int host = 1; host < kHosts; ++host) {
    helpers.push_back(std::make_unique<Helper>(folder.path(""), "door", host));
    ASSERT_TRUE(helpers.back()->is_in()) << host;
  }
  std::set<int> asked;
  for (const DoorRequest& request : door.poll()) asked.insert(request.host);
  EXPECT_EQ(asked.size(), helpers.size());
}

TEST(RemoteDoor, MpirunStartsAllDaemonsAtTheSameTime) {
  v1::Launch launch;
  launch.set_ranks(300);
  for (int host = 0; host < 300; ++host) launch.add_hosts()->set_ranks(1);
  const JobFiles files{"/jobs/1", "/jobs/1/out"};
  const auto words = job_command(Settings{}, launch, files);
  const auto key = std::find(words.begin(), words.end(), "plm_rsh_num_concurrent");
  ASSERT_NE(key, words.end());
  EXPECT_EQ(*std::next(key), "300");
}

}  // namespace
}  // namespace wattle::agent
