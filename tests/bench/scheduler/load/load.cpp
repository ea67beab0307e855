// The daemon under load: a real `wattled` over mutual TLS, with simulated agents on real streams
// that beat once a second, a long queue, and many clients at once. All of it runs on this machine,
// and shares its cores with the daemon.
//
//   wattle_scheduler_load [--agents 200] [--jobs 10000] [--clients 50] [--seconds 20]
//
// A submit counts when its answer is here: the job is durable then. Requests are one file of a few
// hundred bytes, one job each.
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <mutex>
#include <thread>

#include "common/error.h"
#include "scheduler/rpc/wattle.grpc.pb.h"
#include "tests/bench/scheduler/load/simulated_agent.h"
#include "tests/bench/scheduler/load/site.h"

namespace wattle::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr int kTenants = 5;

struct Arguments {
  int agents = 200, jobs = 10000, clients = 50, seconds = 20;
  std::string wattled;
};

/// Latencies of calls that were answered, and how many were not.
class Latencies {
 public:
  void add(double seconds) { seconds_.push_back(seconds); }
  void refuse() { ++refused_; }
  void merge(const Latencies& other) {
    seconds_.insert(seconds_.end(), other.seconds_.begin(), other.seconds_.end());
    refused_ += other.refused_;
  }
  size_t count() const { return seconds_.size(); }
  std::string summary() {
    std::sort(seconds_.begin(), seconds_.end());
    if (seconds_.empty()) return fmt::format("none answered, {} refused", refused_);
    return fmt::format(
        "{} answered, median {:.1f} ms, p99 {:.1f} ms, slowest {:.1f} ms; {} refused", count(),
        1e3 * at(0.5), 1e3 * at(0.99), 1e3 * seconds_.back(), refused_);
  }

 private:
  double at(double quantile) const {
    return seconds_[static_cast<size_t>(quantile * static_cast<double>(seconds_.size() - 1))];
  }
  std::vector<double> seconds_;
  int64_t refused_ = 0;
};

/// A client with a connection of its own.
class Client {
 public:
  Client(std::shared_ptr<grpc::Channel> channel, int number)
      : stub_(v1::Jobs::NewStub(channel)), number_(number) {}

  void submit() {
    v1::SubmitRequest request;
    request.set_request_id(fmt::format("c{}-{}-{}", ::getpid(), number_, ++requests_));
    const int ranks = 1 + requests_ % 4;
    request.set_yaml(
        fmt::format("run: {{name: load-{}, output_dir: runs/load}}\n"
                    "model: {{family: gpt2, layers: 6, width: 384, heads: 6, vocab: 256}}\n"
                    "data: {{kind: text, path: data/kjv.txt, sequence_length: 256}}\n"
                    "train: {{steps: 2000, global_batch: 32}}\n"
                    "job: {{priority: {}, ranks: {{min: 1, max: {}}}}}\n",
                    number_, requests_ % 7, ranks));
    request.mutable_work()->set_units(2000);
    request.mutable_work()->set_units_per_second(0.5);
    request.mutable_work()->set_kind(fmt::format("kind{}", number_ % 10));
    v1::SubmitResponse response;
    time(submits,
         [&](grpc::ClientContext& context) { return stub_->Submit(&context, request, &response); });
  }

  void read_queue() {
    v1::QueueRequest request;
    request.set_page_size(100);
    v1::QueueResponse response;
    time(reads,
         [&](grpc::ClientContext& context) { return stub_->Queue(&context, request, &response); });
  }

  Latencies submits, reads;

 private:
  void time(Latencies& latencies, const std::function<grpc::Status(grpc::ClientContext&)>& call) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    context.set_wait_for_ready(true);
    const auto begin = Clock::now();
    const grpc::Status status = call(context);
    if (status.ok()) {
      latencies.add(Seconds(Clock::now() - begin).count());
    } else {
      latencies.refuse();
      if (!std::exchange(has_complained_, true)) {
        fmt::print(stderr, "client {}: {}\n", number_, status.error_message());
      }
    }
  }

  std::unique_ptr<v1::Jobs::Stub> stub_;
  int number_;
  int requests_ = 0;
  bool has_complained_ = false;
};

using Clients = std::vector<std::unique_ptr<Client>>;

/// Each client works on a thread of its own until `work` returns.
void at_once(Clients& clients, size_t count, const std::function<void(Client&, size_t)>& work) {
  std::vector<std::thread> threads;
  for (size_t i = 0; i < count; ++i) threads.emplace_back([&, i] { work(*clients[i], i); });
  for (std::thread& thread : threads) thread.join();
}

/// What the clients measured since the last call.
Latencies collect(Clients& clients, Latencies Client::*which) {
  Latencies all;
  for (auto& client : clients) all.merge(std::exchange((*client).*which, {}));
  return all;
}

/// The agents and the thread that has them beat once a second, spread over the second.
class Fleet {
 public:
  Fleet(Site& site, int count) {
    for (int i = 0; i < count; ++i) {
      const std::string node = fmt::format("n{}", i);
      agents_.push_back(std::make_unique<SimulatedAgent>(site.as_node(node), node));
    }
    beats_ = std::thread([this] { beat_all(); });
  }
  ~Fleet() {
    is_stopping_ = true;
    beats_.join();
  }

  void await_all() const {
    const auto deadline = Clock::now() + std::chrono::seconds(60);
    while (attached() < agents_.size()) {
      if (Clock::now() > deadline) {
        throw Error(ErrorCode::kCommunication,
                    fmt::format("only {} of {} agents are registered", attached(), agents_.size()));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }

  size_t attached() const {
    return std::count_if(agents_.begin(), agents_.end(),
                         [](const auto& agent) { return agent->figures().is_attached; });
  }

  std::string summary() const {
    AgentFigures sum;
    for (const auto& agent : agents_) {
      const AgentFigures figures = agent->figures();
      sum.renewals += figures.renewals;
      sum.launches += figures.launches;
      sum.slowest_renewal = std::max(sum.slowest_renewal, figures.slowest_renewal);
    }
    return fmt::format(
        "{} of {} agents attached; {} launches; {} heartbeats answered, the slowest after {:.0f} "
        "ms",
        attached(), agents_.size(), sum.launches, sum.renewals, 1e3 * sum.slowest_renewal);
  }

 private:
  void beat_all() {
    auto next = Clock::now();
    const auto step = std::chrono::duration_cast<Clock::duration>(
        Seconds(1.0 / static_cast<double>(agents_.size())));
    for (size_t i = 0; !is_stopping_; i = (i + 1) % agents_.size()) {
      agents_[i]->beat();
      std::this_thread::sleep_until(next += step);
    }
  }

  std::vector<std::unique_ptr<SimulatedAgent>> agents_;
  std::atomic<bool> is_stopping_{false};
  std::thread beats_;
};

void fill_queue(Clients& clients, int jobs) {
  std::atomic<int> left{jobs};
  const auto begin = Clock::now();
  at_once(clients, clients.size(), [&](Client& client, size_t) {
    while (left-- > 0) client.submit();
  });
  const double seconds = Seconds(Clock::now() - begin).count();
  Latencies submits = collect(clients, &Client::submits);
  fmt::print("fill: {} clients as fast as they can: {:.0f} submits/s ({})\n", clients.size(),
             static_cast<double>(submits.count()) / seconds, submits.summary());
}

/// Every client submits once a second and reads the queue once in ten seconds.
void steady(Clients& clients, int seconds) {
  const auto begin = Clock::now();
  at_once(clients, clients.size(), [&](Client& client, size_t number) {
    const Seconds offset(static_cast<double>(number) / static_cast<double>(clients.size()));
    for (int second = 0; second < seconds; ++second) {
      std::this_thread::sleep_until(begin + offset + Seconds(second));
      client.submit();
      if ((second + static_cast<int>(number)) % 10 == 0) client.read_queue();
    }
  });
  fmt::print("steady: {} clients, a submit a second each: {}\n", clients.size(),
             collect(clients, &Client::submits).summary());
  fmt::print("        pages of 100 of the queue: {}\n", collect(clients, &Client::reads).summary());
}

void throughput(Clients& clients, size_t count, int seconds) {
  const auto begin = Clock::now();
  at_once(clients, count, [&](Client& client, size_t) {
    while (Clock::now() - begin < std::chrono::seconds(seconds)) client.submit();
  });
  const double passed = Seconds(Clock::now() - begin).count();
  Latencies submits = collect(clients, &Client::submits);
  fmt::print("throughput: {} clients as fast as they can: {:.0f} submits/s ({})\n", count,
             static_cast<double>(submits.count()) / passed, submits.summary());
}

void measure(const Arguments& arguments, const std::string& folder) {
  Site site(arguments.wattled, folder,
            arguments.agents * SimulatedAgent::kDevices * 0.6 * SimulatedAgent::kMaxWatts);
  Clients clients;
  for (int i = 0; i < arguments.clients; ++i) {
    clients.push_back(
        std::make_unique<Client>(site.as_user(fmt::format("team{}", i % kTenants)), i));
  }
  Fleet fleet(site, arguments.agents);
  fleet.await_all();
  fill_queue(clients, arguments.jobs);
  steady(clients, arguments.seconds);
  throughput(clients, std::min<size_t>(8, clients.size()), arguments.seconds);
  site.require_alive();
  fmt::print("{}\n", fleet.summary());
  fmt::print("daemon: {:.1f} processor seconds, {:.0f} MB resident\n", site.cpu_seconds(),
             site.resident_bytes() / 1e6);
}

int run(int argc, char** argv) {
  Arguments arguments;
  arguments.wattled = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "wattled";
  CLI::App app("Measures wattled under load");
  app.add_option("--agents", arguments.agents)->check(CLI::PositiveNumber);
  app.add_option("--jobs", arguments.jobs)->check(CLI::NonNegativeNumber);
  app.add_option("--clients", arguments.clients)->check(CLI::PositiveNumber);
  app.add_option("--seconds", arguments.seconds, "of each measurement")->check(CLI::PositiveNumber);
  app.add_option("--wattled", arguments.wattled, "default: beside this program");
  CLI11_PARSE(app, argc, argv);
  const std::string folder =
      std::filesystem::temp_directory_path() / fmt::format("wattle-load-{}", ::getpid());
  std::filesystem::create_directories(folder);
  try {
    measure(arguments, folder);
    std::filesystem::remove_all(folder);
    return kExitDone;
  } catch (const Error& e) {
    fmt::print(stderr, "{} (its files stay in {})\n", e.what(), folder);
    return kExitFailed;
  }
}

}  // namespace
}  // namespace wattle::bench

int main(int argc, char** argv) { return wattle::bench::run(argc, argv); }
