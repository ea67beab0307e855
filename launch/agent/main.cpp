// wattle-agent: one on each node. Its other verbs are for its own use: keep, rank, remote-shell.

#include <fmt/format.h>
#include <grp.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/error.h"
#include "energy/clock.h"
#include "launch/agent/agent_settings.h"
#include "scheduler/agent/agent.h"
#include "scheduler/agent/processes/keeper.h"
#include "scheduler/agent/remote/remote_door.h"
#include "scheduler/agent/runs/job_command.h"
#include "scheduler/config/agent_options.h"
#include "scheduler/rpc/credentials.h"

namespace wattle {
namespace {

/// The signals that end an agent, blocked in all its threads from the start.
sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGTERM, SIGINT}) sigaddset(&set, signal);
  return set;
}

/// A thread that calls `stop` at one of the signals, and ends with this object.
class SignalWaiter {
 public:
  SignalWaiter(const sigset_t& signals, std::function<void()> stop)
      : thread_([signals, stop = std::move(stop)] {
          int signal = 0;
          sigwait(&signals, &signal);
          stop();
        }) {}
  ~SignalWaiter() {
    pthread_kill(thread_.native_handle(), SIGTERM);
    thread_.join();
  }
  SignalWaiter(const SignalWaiter&) = delete;
  SignalWaiter& operator=(const SignalWaiter&) = delete;

 private:
  std::thread thread_;
};

int run_agent(const scheduler::AgentOptions& options) {
  const sigset_t signals = ending_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  // Root's groups are none of the jobs' business, also where the agent touches files in their name.
  if (::geteuid() == 0 && ::setgroups(0, nullptr) != 0) {
    throw Error(ErrorCode::kIo, "can't give up the supplementary groups");
  }
  agent::Settings settings = agent_settings(options);
  const auto channel = scheduler::open_channel(options.scheduler, options.security);
  SteadyClock clock;
  agent::NodeMeter meter(settings.meter, clock);
  for (const std::string& note : meter.notes()) fmt::print(stderr, "wattle-agent: {}\n", note);
  agent::Agent agent(std::move(settings), meter, channel);
  const SignalWaiter waiter(signals, [&agent] { agent.stop(); });
  agent.run();
  return kExitDone;
}

int run_program(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const std::string verb = words.empty() ? "" : words[0];
  if (verb == "keep" && words.size() == 2) return agent::keep(words[1]);
  if (verb == "rank" && words.size() > 1)
    return agent::become_rank({words.begin() + 1, words.end()});
  if (verb == "remote-shell") return agent::remote_shell({words.begin() + 1, words.end()});

  CLI::App app("Runs and limits a scheduler's jobs on this node", "wattle-agent");
  std::string path;
  std::vector<std::string> overrides;
  app.add_option("config", path, "agent.yaml (docs/CONFIG.md)")->required();
  app.add_option("--set", overrides, "override a key: a.b=c")->allow_extra_args(false);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kExitDone : kExitUsage;
  }
  return run_agent(scheduler::read_agent_options(path, overrides));
}

}  // namespace
}  // namespace wattle

int main(int argc, char** argv) {
  try {
    return wattle::run_program(argc, argv);
  } catch (const wattle::Error& e) {
    fmt::print(stderr, "wattle-agent: {}\n", e.what());
    return wattle::exit_code(e.code());
  } catch (const std::exception& e) {
    fmt::print(stderr, "wattle-agent: {}\n", e.what());
    return wattle::kExitFailed;
  }
}
