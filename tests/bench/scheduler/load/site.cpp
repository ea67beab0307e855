#include "tests/bench/scheduler/load/site.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "common/error.h"
#include "launch/wattle/certs/authority.h"
#include "scheduler/rpc/credentials.h"
#include "tests/support/free_port.h"

namespace wattle::bench {
namespace {

constexpr double kDay = 86400;

}  // namespace

Site::Site(const std::string& wattled, const std::string& folder, double cap_watts)
    : folder_(std::filesystem::absolute(folder)),
      address_(fmt::format("127.0.0.1:{}", free_port())) {
  const std::string certs = folder_ + "/certs";
  make_authority(certs, "bench", 30 * kDay);
  issue_certificate(
      certs, {{scheduler::Identity::Kind::kDaemon, "bench", "", "", {}}, {"127.0.0.1"}, kDay});
  std::ofstream(folder_ + "/cluster.yaml") << fmt::format(
      "listen: {}\nstate_dir: {}/state\ncap_watts: {}\nmetrics_listen: \"\"\n"
      "tls: {{ca: {}/ca.crt, cert: {}/daemon.crt, key: {}/daemon.key}}\n",
      address_, folder_, cap_watts, certs, certs, certs);
  start(wattled);
  await_daemon();
}

Site::~Site() {
  if (daemon_ <= 0) return;
  ::kill(daemon_, SIGTERM);
  ::waitpid(daemon_, nullptr, 0);
}

void Site::start(const std::string& wattled) {
  const std::string config = folder_ + "/cluster.yaml", log = folder_ + "/wattled.log";
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    posix_spawn_file_actions_addopen(&actions, fd, log.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                     0600);
  }
  char* argv[] = {const_cast<char*>(wattled.c_str()), const_cast<char*>(config.c_str()), nullptr};
  const int wrong = ::posix_spawn(&daemon_, wattled.c_str(), &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (wrong != 0) {
    daemon_ = -1;
    throw Error(ErrorCode::kIo, fmt::format("{} can't be started", wattled));
  }
}

void Site::await_daemon() {
  const auto deadline = std::chrono::system_clock::now() + std::chrono::seconds(30);
  if (!as_operator()->WaitForConnected(deadline)) {
    throw Error(ErrorCode::kCommunication,
                fmt::format("wattled does not answer; see {}/wattled.log", folder_));
  }
}

void Site::require_alive() {
  int status = 0;
  if (::waitpid(daemon_, &status, WNOHANG) == 0) return;
  daemon_ = -1;
  throw Error(ErrorCode::kCommunication,
              fmt::format("wattled has ended ({} {}); see {}/wattled.log",
                          WIFSIGNALED(status) ? "signal" : "exit code",
                          WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), folder_));
}

std::shared_ptr<grpc::Channel> Site::open(const std::string& name) const {
  const std::string certs = folder_ + "/certs/";
  return scheduler::open_channel(
      address_, {{certs + "ca.crt", certs + name + ".crt", certs + name + ".key"}, false});
}

std::shared_ptr<grpc::Channel> Site::as_user(const std::string& tenant) {
  const std::string user = "user-of-" + tenant;
  if (!std::filesystem::exists(folder_ + "/certs/user-" + user + ".crt")) {
    issue_certificate(folder_ + "/certs",
                      {{scheduler::Identity::Kind::kUser, "bench", user, tenant, {}}, {}, kDay});
  }
  return open("user-" + user);
}

std::shared_ptr<grpc::Channel> Site::as_operator() {
  if (!std::filesystem::exists(folder_ + "/certs/user-operator.crt")) {
    issue_certificate(folder_ + "/certs", {{scheduler::Identity::Kind::kUser, "bench", "operator",
                                            "site", scheduler::Role::kOperator},
                                           {},
                                           kDay});
  }
  return open("user-operator");
}

std::shared_ptr<grpc::Channel> Site::as_node(const std::string& name) {
  issue_certificate(folder_ + "/certs",
                    {{scheduler::Identity::Kind::kNode, "bench", name, "", {}}, {}, kDay});
  return open("node-" + name);
}

double Site::cpu_seconds() const {
  std::ifstream stat(fmt::format("/proc/{}/stat", daemon_));
  std::string field;
  double ticks = 0;
  for (int i = 1; i <= 15 && stat >> field; ++i) {  // proc(5): utime and stime are 14 and 15
    if (i >= 14) ticks += std::stod(field);
  }
  return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

double Site::resident_bytes() const {
  std::ifstream statm(fmt::format("/proc/{}/statm", daemon_));
  double total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

}  // namespace wattle::bench
