#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "scheduler/rpc/wattle.grpc.pb.h"
#include "tests/support/free_port.h"
#include "tests/support/scratch_folder.h"

namespace wattle {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::system_clock;

/// A real wattled in a folder, on loopback.
class Wattled {
 public:
  explicit Wattled(const ScratchFolder& folder)
      : address(fmt::format("127.0.0.1:{}", free_port())), folder_(folder.path()) {
    // Snapshots and what is dropped after them come often: kills meet them, too.
    std::ofstream(folder_ + "/cluster.yaml") << fmt::format(
        "listen: {}\nstate_dir: {}/state\ncap_watts: 1000\nmetrics_listen: \"\"\n"
        "insecure_loopback: true\nreserve_bytes: 0\n"
        "journal: {{snapshot_events: 100, keep_days: 0}}\n",
        address, folder_);
    start();
  }
  ~Wattled() { end(SIGKILL); }

  void start() { pid_ = spawn({WATTLED, folder_ + "/cluster.yaml"}); }

  /// Its status, as waitpid gives it; a daemon that had ended by itself before is a failure.
  void end(int signal) {
    if (pid_ <= 0) return;
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, WNOHANG), 0) << "wattled ended by itself:\n" << log();
    ::kill(pid_, signal);
    ::waitpid(pid_, &status, 0);
    if (signal == SIGTERM) {
      EXPECT_EQ(status, 0) << log();
    }
    pid_ = -1;
  }

  int verify_journal() {
    int status = -1;
    ::waitpid(spawn({WATTLED, "--verify-journal", folder_ + "/state"}), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  std::string log() const {
    std::ifstream file(folder_ + "/wattled.log");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  const std::string address;

 private:
  pid_t spawn(std::vector<std::string> arguments) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    const std::string log = folder_ + "/wattled.log";
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
      posix_spawn_file_actions_addopen(&actions, fd, log.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                       0600);
    }
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_t pid = -1;
    EXPECT_EQ(::posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
  }

  std::string folder_;
  pid_t pid_ = -1;
};

/// One user's connection; asks again until there is an answer.
class Client {
 public:
  explicit Client(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2000);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channel_ = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
    jobs_ = v1::Jobs::NewStub(channel_);
  }

  v1::SubmitResponse submit(const std::string& request_id) {
    v1::SubmitRequest request;
    request.set_request_id(request_id);
    request.set_yaml(fmt::format(
        "run: {{name: {}, output_dir: out}}\njob: {{ranks: {{min: 1, max: 2}}}}\n", request_id));
    return until_answered<v1::SubmitResponse>([&](grpc::ClientContext& context, auto& response) {
      return jobs_->Submit(&context, request, &response);
    });
  }

  /// All jobs there are: name and number.
  std::multimap<std::string, int64_t> queue() {
    std::multimap<std::string, int64_t> found;
    v1::QueueRequest request;
    request.set_all(true);
    do {
      const auto page =
          until_answered<v1::QueueResponse>([&](grpc::ClientContext& context, auto& response) {
            return jobs_->Queue(&context, request, &response);
          });
      for (const v1::JobSummary& job : page.jobs()) found.emplace(job.name(), job.job());
      request.set_after_job(page.next_after_job());
    } while (request.after_job() != 0);
    return found;
  }

 private:
  template <class Response, class Call>
  Response until_answered(Call&& call) {
    const auto give_up = system_clock::now() + seconds(90);
    while (true) {
      grpc::ClientContext context;
      context.set_deadline(system_clock::now() + seconds(5));
      Response response;
      const grpc::Status status = call(context, response);
      if (status.ok()) return response;
      if (system_clock::now() > give_up) {
        ADD_FAILURE() << "no answer: " << status.error_message();
        return {};
      }
      // Not asleep: a connection comes about only while somebody waits for it.
      channel_->WaitForConnected(system_clock::now() + milliseconds(200));
    }
  }

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Jobs::Stub> jobs_;
};

using Answers = std::map<std::string, v1::SubmitResponse>;  ///< by request

class DaemonKilled : public testing::TestWithParam<int> {};

TEST_P(DaemonKilled, InTheMiddleOfSubmitsLosesNothingThatWasAcknowledgedAndDoublesNothing) {
  constexpr int kClients = 4, kKills = 8;
  std::mt19937 random(static_cast<unsigned>(GetParam()));
  auto pause = [&](int most_ms) {
    std::this_thread::sleep_for(milliseconds(random() % static_cast<unsigned>(most_ms)));
  };
  ScratchFolder folder;
  Wattled wattled(folder);

  std::atomic<bool> is_over = false;
  std::array<Answers, kClients> answers;
  std::vector<std::thread> clients;
  for (int c = 0; c < kClients; ++c) {
    clients.emplace_back([&, c] {
      Client client(wattled.address);
      for (int n = 0; !is_over; ++n) {
        const std::string request = fmt::format("c{}-{}", c, n);
        answers[c][request] = client.submit(request);
      }
    });
  }
  Client(wattled.address).submit("first");  // it is up
  for (int kill = 0; kill < kKills; ++kill) {
    pause(400);
    wattled.end(SIGKILL);
    pause(100);
    wattled.start();
    if (kill % 2) Client(wattled.address).submit(fmt::format("k{}", kill));  // else: early, too
  }
  is_over = true;
  for (std::thread& client : clients) client.join();
  wattled.end(SIGKILL);
  wattled.start();

  Client client(wattled.address);
  const auto queue = client.queue();
  std::set<int64_t> numbers;
  size_t acknowledged = 1 + kKills / 2;
  for (const Answers& of_client : answers) {
    acknowledged += of_client.size();
    for (const auto& [request, answer] : of_client) {
      ASSERT_EQ(answer.jobs_size(), 1) << request;
      ASSERT_EQ(queue.count(request), 1u) << request;
      EXPECT_EQ(queue.find(request)->second, answer.jobs(0).job()) << request;
      EXPECT_TRUE(numbers.insert(answer.jobs(0).job()).second) << request;
    }
  }
  EXPECT_EQ(queue.size(), acknowledged) << "and there are no others";
  EXPECT_GT(acknowledged, 40u);
  for (const auto& [request, answer] : answers[0]) {
    EXPECT_EQ(client.submit(request).SerializeAsString(), answer.SerializeAsString()) << request;
  }
  wattled.end(SIGTERM);
  EXPECT_EQ(wattled.verify_journal(), 0) << wattled.log();
}

INSTANTIATE_TEST_SUITE_P(Seeds, DaemonKilled, testing::Values(1, 2, 3));

}  // namespace
}  // namespace wattle
