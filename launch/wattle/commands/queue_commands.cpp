#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "common/error.h"
#include "common/text.h"
#include "launch/wattle/commands/client_command.h"
#include "launch/wattle/commands/commands.h"
#include "launch/wattle/text/quantities.h"
#include "launch/wattle/text/table.h"

namespace wattle {
namespace {

struct QueueArguments {
  ClientArguments client;
  bool all = false;
  std::vector<std::string> states;
  std::string tenant;
};

struct JobArguments {
  ClientArguments client;
  int64_t job = 0;
  bool yaml = false;
};

v1::JobState parse_state(const std::string& word) {
  std::string name = "JOB_STATE_" + word;
  std::transform(name.begin(), name.end(), name.begin(), ::toupper);
  v1::JobState state;
  if (word.empty() || !v1::JobState_Parse(name, &state) || state == v1::JOB_STATE_UNSPECIFIED) {
    throw Error(ErrorCode::kConfig,
                fmt::format("--state: expected pending, running, completed, failed, cancelled, "
                            "preempted, timeout or node_fail, got \"{}\"",
                            word));
  }
  return state;
}

/// How long the present run lasts, or the last one did.
std::string run_time(const v1::JobSummary& job) {
  if (job.start_time() <= 0) return "";
  const double end = job.run_end_time() > 0 ? job.run_end_time() : now_seconds();
  return duration_text(end - job.start_time());
}

std::string progress(const v1::JobSummary& job) {
  if (job.units() <= 0) return "";
  return fmt::format("{:.0f}%", 100 * std::min(1.0, job.units_done() / job.units()));
}

/// As squeue: where it runs, or why it waits; of what is finished both.
std::string nodes_or_reason(const v1::JobSummary& job) {
  const bool is_somewhere = job.state() == v1::JOB_STATE_RUNNING || is_finished(job.state());
  std::string text = is_somewhere ? fmt::format("{}", fmt::join(job.nodes(), ",")) : "";
  const std::string reason = reason_text(job);
  if (!reason.empty()) text += fmt::format("{}({})", text.empty() ? "" : " ", reason);
  return text;
}

std::string positive(double value, std::string (*text)(double)) {
  return value > 0 ? text(value) : "";
}

void print_queue(const std::vector<v1::JobSummary>& jobs) {
  using enum Table::Align;
  Table table({{"JOBID", kRight},
               {"NAME"},
               {"TENANT"},
               {"USER"},
               {"STATE"},
               {"TIME", kRight},
               {"RANKS", kRight},
               {"LIMIT", kRight},
               {"DRAWN", kRight},
               {"ENERGY", kRight},
               {"DONE", kRight},
               {"NODELIST(REASON)"}});
  for (const auto& job : jobs) {
    table.add(
        {std::to_string(job.job()), job.name(), job.tenant(), job.user(), state_text(job.state()),
         run_time(job), job.ranks() > 0 ? std::to_string(job.ranks()) : "",
         positive(job.limit_watts() * job.ranks(), watts_text), positive(job.watts(), watts_text),
         positive(job.joules(), joules_text), progress(job), nodes_or_reason(job)});
  }
  fmt::print("{}", table.text());
}

void queue(const QueueArguments& arguments) {
  v1::QueueRequest request;
  request.set_all(arguments.all);
  request.set_tenant(arguments.tenant);
  for (const std::string& word : arguments.states) request.add_states(parse_state(word));
  const auto jobs = JobsClient(arguments.client.connect()).queue(request);
  if (arguments.client.json) {
    print_json(json_list(jobs));
  } else {
    print_queue(jobs);
  }
}

std::string energy_text(const v1::JobDetail& job) {
  std::string text;
  for (const auto& part : job.energy()) {
    text +=
        fmt::format("{}{} {}", text.empty() ? "" : ", ", joules_text(part.joules()), part.source());
  }
  return text;
}

std::string ranks_text(const v1::JobDetail& detail) {
  const auto& job = detail.summary();
  std::string text =
      job.ranks() > 0
          ? fmt::format("{} {}, ", job.ranks(), job.run_end_time() > 0 ? "in the last run" : "now")
          : "";
  text += fmt::format("{} to {}", job.min_ranks(), job.max_ranks());
  if (detail.rank_counts_size() > 0) {
    text += fmt::format(" (feasible: {})", fmt::join(detail.rank_counts(), ", "));
  }
  return text;
}

/// Name and value, one a line; what is empty is left out.
void print_detail(const v1::JobDetail& detail) {
  const auto& job = detail.summary();
  const auto line = [](const char* name, const std::string& value) {
    if (!value.empty()) fmt::print("{:<12}{}\n", name, printable(value));
  };
  const auto time = [](double seconds) { return seconds > 0 ? time_text(seconds) : ""; };
  line("Job", std::to_string(job.job()));
  line("Name", job.name());
  line("Tenant", fmt::format("{}, user {}", job.tenant(), job.user()));
  line("State", state_text(job.state()) + (job.reason().empty() ? "" : " " + job.reason()));
  line("Why", detail.explanation());
  line("Priority", std::to_string(job.priority()));
  line("Ranks", ranks_text(detail));
  line("Nodes", fmt::format("{}", fmt::join(job.nodes(), ", ")));
  line("Devices", job.device_type());
  line("Limit", job.limit_watts() > 0 ? watts_text(job.limit_watts()) + " a device" : "");
  line("Drawn", positive(job.watts(), watts_text));
  line("Energy", energy_text(detail));
  line("Budget",
       detail.has_energy_budget_joules() ? joules_text(detail.energy_budget_joules()) : "");
  line("Progress", job.units() > 0 ? fmt::format("{:.0f} of {:.0f} steps, {}", job.units_done(),
                                                 job.units(), progress(job))
                                   : "");
  line("Tokens", positive(detail.tokens(), [](double n) { return fmt::format("{:.0f}", n); }));
  line("Deadline", detail.has_deadline_time() ? time_text(detail.deadline_time()) : "");
  line("Submitted", time(job.submit_time()));
  line("Started", time(job.start_time()));
  if (!is_finished(job.state())) line("Stopped", time(job.run_end_time()));
  line("Ended", time(job.end_time()));
  if (is_finished(job.state())) line("Exit code", std::to_string(job.exit_code()));
  line("After", fmt::format("{}", fmt::join(detail.after(), ", ")));
  line("Overrides", fmt::format("{}", fmt::join(detail.overrides(), "  ")));
  for (const auto& input : detail.inputs()) {
    line("Input", fmt::format("{}  {} bytes", input.path(), input.size_bytes()));
  }
  if (detail.start_failures() > 0) line("Not started", std::to_string(detail.start_failures()));
  if (detail.node_failures() > 0) line("Node losses", std::to_string(detail.node_failures()));
}

void show(const JobArguments& arguments) {
  const auto detail = JobsClient(arguments.client.connect()).show(arguments.job);
  if (arguments.client.json) {
    print_json(json_of(detail));
  } else if (arguments.yaml) {
    // As it was handed in where it goes into a file; a terminal shall not obey it.
    fmt::print("{}", ::isatty(STDOUT_FILENO) ? printable_lines(detail.yaml()) : detail.yaml());
  } else {
    print_detail(detail);
  }
}

void explain(const JobArguments& arguments) {
  std::string text = JobsClient(arguments.client.connect()).explain(arguments.job);
  if (arguments.client.json) {
    print_json({{"job", arguments.job}, {"text", text}});
  } else {
    if (!text.ends_with('\n')) text += '\n';
    fmt::print("{}", printable_lines(text));
  }
}

CLI::App* add_job_command(CLI::App& wattle, const char* name, const char* meaning,
                          void (*run)(const JobArguments&),
                          const std::shared_ptr<JobArguments>& arguments) {
  CLI::App* command = wattle.add_subcommand(name, meaning);
  arguments->client.add_to(*command);
  command->add_option("job", arguments->job, "number of the job")->required()->check(job_number());
  command->callback([arguments, run] { run(*arguments); });
  return command;
}

}  // namespace

void add_queue_commands(CLI::App& wattle) {
  const auto arguments = std::make_shared<QueueArguments>();
  CLI::App* command = wattle.add_subcommand("queue", "jobs that are not finished, as squeue");
  arguments->client.add_to(*command);
  command->add_flag("-a,--all", arguments->all, "finished ones, too");
  command->add_option("-t,--state", arguments->states, "only jobs in these states")->delimiter(',');
  command->add_option("--tenant", arguments->tenant, "only this tenant's");
  command->callback([arguments] { queue(*arguments); });

  const auto shown = std::make_shared<JobArguments>();
  add_job_command(wattle, "show", "everything about one job", show, shown)
      ->add_flag("--yaml", shown->yaml, "the file that was handed in");
  add_job_command(wattle, "explain", "why a job is where it is", explain,
                  std::make_shared<JobArguments>());
}

}  // namespace wattle
