#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "common/error.h"
#include "launch/wattle/commands/client_command.h"
#include "launch/wattle/commands/commands.h"

namespace wattle {
namespace {

struct CancelArguments {
  ClientArguments client;
  std::vector<int64_t> jobs;
};

struct LogsArguments {
  ClientArguments client;
  int64_t job = 0;
  int64_t tail_bytes = 0;
  bool follow = false;
};

/// Every job is tried; the first refusal decides the exit code.
int cancel(const CancelArguments& arguments) {
  JobsClient jobs(arguments.client.connect());
  int code = kExitDone;
  auto json = nlohmann::ordered_json::array();
  for (const int64_t job : arguments.jobs) {
    try {
      jobs.cancel(job);
      json.push_back({{"job", job}, {"cancelled", true}});
      if (!arguments.client.json)
        fmt::print("Cancelled job {}; what runs of it is being stopped\n", job);
    } catch (const Error& e) {
      fmt::print(stderr, "wattle: {}\n", e.what());
      json.push_back({{"job", job}, {"cancelled", false}, {"error", e.what()}});
      if (code == kExitDone) code = exit_code(e.code());
    }
  }
  if (arguments.client.json) print_json(json);
  return code;
}

void logs(const LogsArguments& arguments) {
  v1::LogsRequest request;
  request.set_job(arguments.job);
  request.set_follow(arguments.follow);
  request.set_tail_bytes(arguments.tail_bytes);
  JobsClient(arguments.client.connect()).logs(request, [&](const std::string& piece) {
    if (arguments.client.json) return print_json({{"data", piece}});
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  });
}

}  // namespace

void add_job_commands(CLI::App& wattle, int& exit_code) {
  const auto cancelled = std::make_shared<CancelArguments>();
  CLI::App* cancel_app = wattle.add_subcommand("cancel", "end jobs, as scancel");
  cancelled->client.add_to(*cancel_app);
  cancel_app->add_option("job", cancelled->jobs, "numbers of the jobs")
      ->required()
      ->check(job_number());
  cancel_app->callback([cancelled, &exit_code] { exit_code = cancel(*cancelled); });

  const auto logged = std::make_shared<LogsArguments>();
  CLI::App* logs_app = wattle.add_subcommand("logs", "what a job's ranks print, as kubectl logs");
  logged->client.add_to(*logs_app);
  logs_app->add_option("job", logged->job, "number of the job")->required()->check(job_number());
  logs_app->add_flag("-f,--follow", logged->follow, "go on until the job is finished");
  logs_app->add_option("--tail", logged->tail_bytes, "only the last so many bytes")
      ->check(CLI::PositiveNumber);
  logs_app->callback([logged] { logs(*logged); });
}

}  // namespace wattle
