#include "launch/wattle/client/trainer_plan.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/error.h"

extern char** environ;

namespace wattle {
namespace {

struct Finished {
  int status = 0;
  std::string output;
};

std::string trainer_path() {
  std::error_code failed;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", failed);
  const auto beside = self.parent_path() / "wattle-train";
  return !failed && std::filesystem::exists(beside) ? beside.string() : "wattle-train";
}

[[noreturn]] void fail(const std::string& program, int code) {
  throw Error(ErrorCode::kIo,
              fmt::format("{}: {}; submit --no-plan hands a file in without its check", program,
                          std::strerror(code)));
}

/// Runs a program and takes what it prints on standard output. Its standard error is dropped: the
/// same stands in the answer.
Finished run(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail(command[0], errno);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  pid_t pid = 0;
  const int code = posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  Finished finished;
  char buffer[4096];
  for (ssize_t size; code == 0 && (size = read(ends[0], buffer, sizeof buffer)) != 0;) {
    if (size < 0 && errno != EINTR) break;
    if (size > 0) finished.output.append(buffer, static_cast<size_t>(size));
  }
  close(ends[0]);
  if (code != 0) fail(command[0], code);
  while (waitpid(pid, &finished.status, 0) < 0 && errno == EINTR) {
  }
  return finished;
}

std::string joined(const nlohmann::json& lines) {
  std::string text;
  for (const auto& line : lines) {
    if (!text.empty()) text += '\n';
    text += line.get<std::string>();
  }
  return text;
}

v1::WorkEstimate estimate_of(const nlohmann::json& plan) {
  v1::WorkEstimate work;
  work.set_units(plan.at("steps").get<double>() + plan.at("float_run_steps").get<double>());
  work.set_kind(plan.at("kind").get<std::string>());
  for (const auto& count : plan.at("rank_counts")) work.add_rank_counts(count.get<int>());
  work.set_units_per_second(plan.at("predicted").at("one_rank_steps_per_s").get<double>());
  return work;
}

std::vector<PlannedInput> inputs_of(const nlohmann::json& plan) {
  std::vector<PlannedInput> inputs;
  for (const auto& input : plan.at("inputs")) {
    inputs.push_back({input.at("place"), input.at("key"), input.at("path")});
  }
  return inputs;
}

}  // namespace

TrainerPlan plan_work(const std::string& file, const std::vector<std::string>& overrides) {
  std::vector<std::string> command = {trainer_path(), "plan", file, "--json"};
  for (const std::string& override : overrides) {
    command.insert(command.end(), {"--set", override});
  }
  const Finished finished = run(command);
  try {
    const auto answer = nlohmann::json::parse(finished.output);
    if (!answer.at("valid").get<bool>()) {
      throw Error(ErrorCode::kConfig, joined(answer.at("errors")));
    }
    return {estimate_of(answer), inputs_of(answer),
            answer.at("warnings").get<std::vector<std::string>>()};
  } catch (const nlohmann::json::exception& e) {
    throw Error(ErrorCode::kIo,
                fmt::format("{} plan ended with status {} and no answer ({}); submit --no-plan "
                            "hands a file in without its check",
                            command[0], finished.status, e.what()));
  }
}

}  // namespace wattle
