#include "launch/wattle/commands/client_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>

namespace wattle {

void ClientArguments::add_to(CLI::App& command) {
  constexpr const char* kGroup = "Connection";
  const auto add = [&](const char* flag, std::string& value, const char* variable,
                       const char* meaning) {
    command.add_option(flag, value, meaning)->envname(variable)->group(kGroup);
  };
  command.add_flag("--json", json, "one JSON value on standard output instead of text");
  add("--server", overrides.server, "WATTLE_SERVER", "where wattled listens, host:port");
  add("--ca", overrides.ca, "WATTLE_CA", "certificate of the site's authority");
  add("--cert", overrides.cert, "WATTLE_CERT", "your certificate");
  add("--key", overrides.key, "WATTLE_KEY", "its key");
  add("--config", overrides.config, "WATTLE_CONFIG",
      "file with these settings (~/.config/wattle/client.yaml)");
  command.add_option("--deadline", overrides.deadline_seconds, "seconds to try for an answer")
      ->check(CLI::PositiveNumber)
      ->group(kGroup);
  command
      .add_flag("--insecure-loopback", overrides.insecure_loopback,
                "no TLS, to a daemon of the same mode on this machine")
      ->group(kGroup);
}

std::shared_ptr<Link> ClientArguments::connect() const {
  return wattle::connect(resolve_client_options(overrides));
}

void print_json(const nlohmann::ordered_json& json) {
  fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string state_text(v1::JobState state) {
  constexpr std::string_view kPrefix = "JOB_STATE_";
  return v1::JobState_Name(state).substr(kPrefix.size());
}

std::string reason_text(const v1::JobSummary& job) {
  if (job.reason().empty() || job.why().empty()) return job.reason();
  return job.reason() + ": " + job.why();
}

bool is_finished(v1::JobState state) {
  return state != v1::JOB_STATE_PENDING && state != v1::JOB_STATE_RUNNING &&
         state != v1::JOB_STATE_PREEMPTED && state != v1::JOB_STATE_UNSPECIFIED;
}

CLI::Validator job_number() {
  return CLI::Validator(
      [](const std::string& text) {
        const bool is_number = !text.empty() && text.find_first_not_of("0123456789") == text.npos;
        return is_number && text != "0"
                   ? ""
                   : "expected a job's number, as `wattle queue` shows it, got '" + text + "'";
      },
      "NUMBER");
}

}  // namespace wattle
