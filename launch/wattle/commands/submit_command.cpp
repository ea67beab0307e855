#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>

#include "common/error.h"
#include "launch/wattle/client/sweep_plans.h"
#include "launch/wattle/commands/client_command.h"
#include "launch/wattle/commands/commands.h"
#include "launch/wattle/commands/wait.h"
#include "launch/wattle/text/quantities.h"
#include "launch/wattle/text/table.h"

namespace wattle {
namespace {

constexpr std::streamsize kMostYamlBytes = 1 << 20;

struct SubmitArguments {
  ClientArguments client;
  std::string file, name, array, request_id;
  std::vector<std::string> overrides, inputs;
  bool wait = false, no_plan = false, parsable = false;
};

std::string read_yaml(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMostYamlBytes + 1, '\0');
  file.read(text.data(), kMostYamlBytes + 1);
  if (file.gcount() == 0) {
    throw Error(ErrorCode::kConfig, fmt::format("{} can't be read or is empty", path));
  }
  if (file.gcount() > kMostYamlBytes) {
    throw Error(ErrorCode::kConfig, fmt::format("{}: has more than {} bytes; data goes into "
                                                "--input files",
                                                path, kMostYamlBytes));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

struct Input {
  std::string file;  ///< here
  std::string path;  ///< in the job's directory
};

/// "FILE", which keeps its relative path, or "FILE=PATH".
Input parse_input(const std::string& text) {
  const size_t equals = text.find('=');
  Input input{text.substr(0, equals), equals == std::string::npos ? text : text.substr(equals + 1)};
  const std::filesystem::path path = std::filesystem::path(input.path).lexically_normal();
  if (input.path.empty() || path.is_absolute() || *path.begin() == "..") {
    throw Error(
        ErrorCode::kConfig,
        fmt::format("--input {}: its place must be below the job's directory; name one, as "
                    "--input {}={}",
                    text, input.file, std::filesystem::path(input.file).filename().string()));
  }
  input.path = path.string();
  return input;
}

v1::SubmitRequest request_of(const SubmitArguments& arguments, const std::vector<Input>& inputs) {
  v1::SubmitRequest request;
  request.set_request_id(arguments.request_id.empty() ? new_request_id() : arguments.request_id);
  request.set_name(arguments.name);
  request.set_array(arguments.array);
  request.set_yaml(read_yaml(arguments.file));
  for (const std::string& override : arguments.overrides) request.add_overrides(override);
  std::vector<std::string> sent;
  for (const Input& input : inputs) sent.push_back(input.path);
  if (!arguments.no_plan) plan_request(arguments.file, sent, request);
  return request;
}

/// When it can start, as far as that is known, from now on.
std::string start_text(const v1::Acceptance& job) {
  if (!job.has_start_time()) return "";
  const double wait = job.start_time() - now_seconds();
  return wait < 1 ? "now" : "in about " + duration_text(wait);
}

std::string expectation(const v1::Acceptance& job) {
  std::string text = fmt::format("~{}", watts_text(job.watts()));
  if (job.has_joules()) text += fmt::format(", ~{}", joules_text(job.joules()));
  if (job.has_run_seconds()) text += fmt::format(", ~{}", duration_text(job.run_seconds()));
  if (job.has_start_time()) text += ", can start " + start_text(job);
  return text;
}

void print_accepted(const v1::SubmitResponse& response) {
  if (response.jobs_size() == 1) {
    const auto& job = response.jobs(0);
    fmt::print("Submitted job {} \"{}\": {}\n", job.job(), printable(job.name()), expectation(job));
    if (!job.why().empty()) fmt::print("  {}\n", printable(job.why()));
    return;
  }
  using enum Table::Align;
  Table table({{"JOBID", kRight},
               {"NAME"},
               {"WATTS", kRight},
               {"ENERGY", kRight},
               {"TIME", kRight},
               {"START"},
               {"OVERRIDES"}});
  std::set<std::string> whys;
  for (const auto& job : response.jobs()) {
    table.add({std::to_string(job.job()), job.name(), watts_text(job.watts()),
               job.has_joules() ? joules_text(job.joules()) : "",
               job.has_run_seconds() ? duration_text(job.run_seconds()) : "", start_text(job),
               fmt::format("{}", fmt::join(job.overrides(), "  "))});
    if (!job.why().empty()) whys.insert(printable(job.why()));
  }
  fmt::print("Submitted {} jobs\n{}", response.jobs_size(), table.text());
  for (const std::string& why : whys) fmt::print("  {}\n", why);
}

int wait_for(JobsClient& client, const v1::SubmitResponse& response, bool quiet) {
  std::vector<int64_t> jobs;
  for (const auto& job : response.jobs()) jobs.push_back(job.job());
  const bool good = wait_until_finished(client, jobs, [quiet](const v1::JobSummary& job) {
    if (is_hopeless(job)) {
      fmt::print(stderr, "job {} waits for a job that has ended without success: it never runs\n",
                 job.job());
    }
    if (quiet) return;
    const std::string nodes =
        job.nodes_size() > 0 ? fmt::format(" on {}", fmt::join(job.nodes(), ",")) : "";
    const std::string reason = printable(reason_text(job));
    fmt::print(stderr, "job {} {}{}{}\n", job.job(), state_text(job.state()), nodes,
               reason.empty() ? "" : " (" + reason + ")");
  });
  return good ? kExitDone : kExitFailed;
}

int submit(const SubmitArguments& arguments) {
  std::vector<Input> inputs;
  for (const std::string& text : arguments.inputs) inputs.push_back(parse_input(text));
  v1::SubmitRequest request = request_of(arguments, inputs);
  JobsClient client(arguments.client.connect());
  for (const Input& input : inputs) *request.add_inputs() = client.upload(input.file, input.path);
  const v1::SubmitResponse response = client.submit(request);
  if (arguments.parsable) {
    for (const auto& job : response.jobs()) fmt::print("{}\n", job.job());
  } else if (arguments.client.json) {
    print_json(json_list(response.jobs()));
  } else {
    print_accepted(response);
  }
  std::fflush(stdout);
  return arguments.wait ? wait_for(client, response, arguments.client.json) : kExitDone;
}

}  // namespace

void add_submit_command(CLI::App& wattle, int& exit_code) {
  const auto arguments = std::make_shared<SubmitArguments>();
  CLI::App* command = wattle.add_subcommand("submit", "hand a run's YAML file in, as sbatch");
  arguments->client.add_to(*command);
  command->add_option("file", arguments->file, "the run's YAML file")->required();
  command->add_option("--set", arguments->overrides, "override a key: a.b=c")
      ->allow_extra_args(false);
  command
      ->add_option("--input", arguments->inputs,
                   "file that the job needs, at its relative path or as FILE=PATH")
      ->allow_extra_args(false);
  command->add_option("--array", arguments->array, "one job of each seed: 0-9 or 1,3,5");
  command->add_option("--name", arguments->name, "name of the job (default: run.name)");
  command->add_flag("--wait", arguments->wait,
                    "wait for the end; exit code 1 unless all jobs are completed");
  command->add_flag("--parsable", arguments->parsable, "print the jobs' numbers alone");
  command->add_flag("--no-plan", arguments->no_plan,
                    "do not ask wattle-train whether the file can run and what to expect");
  command->add_option("--request-id", arguments->request_id,
                      "the same id again hands in nothing new (default: random)");
  command->callback([arguments, &exit_code] { exit_code = submit(*arguments); });
}

}  // namespace wattle
