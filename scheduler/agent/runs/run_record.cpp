#include "scheduler/agent/runs/run_record.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "common/atomic_file.h"
#include "common/error.h"
#include "scheduler/agent/processes/process.h"

namespace wattle::agent {
namespace {

using nlohmann::json;

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorCode::kIo, path + ": can't be read");
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::string& path, const std::string& content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

json to_json(const EnergyRecord& energy) {
  return {{"at", energy.at},
          {"cpu_seconds", energy.cpu_seconds},
          {"joules", energy.joules},
          {"readings", energy.readings}};
}

EnergyRecord energy_of(const json& object) {
  return {object.at("at"), object.at("cpu_seconds"), object.at("joules"), object.at("readings")};
}

json to_json(const RunRecord& record) {
  json remotes = json::array();
  for (const RemoteRequest& remote : record.remotes) {
    remotes.push_back({{"number", remote.number}, {"host", remote.host}, {"argv", remote.argv}});
  }
  json state{{"boot", boot_id()},
             {"limit_watts", record.limit_watts},
             {"sequence", record.sequence},
             {"is_prepared", record.is_prepared},
             {"stop_reason", record.stop_reason},
             {"stop_began", record.stop_began},
             {"metrics_offset", record.metrics.offset},
             {"float_metrics_offset", record.metrics.float_offset},
             {"float_steps", record.metrics.float_steps},
             {"energy", to_json(record.energy)},
             {"is_killed", record.is_killed},
             {"remotes", remotes},
             {"remote_from", record.remote_from},
             {"remote_argv", record.remote_argv}};
  if (record.leased_joules) state["leased_joules"] = *record.leased_joules;
  if (record.remote_request) state["remote_request"] = *record.remote_request;
  if (record.exited) {
    std::string exited;
    if (!google::protobuf::util::MessageToJsonString(*record.exited, &exited).ok()) {
      throw Error(ErrorCode::kInternal, "a run's end can't be written as JSON");
    }
    state["exited"] = exited;
  }
  return state;
}

void read_state(const json& state, RunRecord& record) {
  state.at("limit_watts").get_to(record.limit_watts);
  state.at("sequence").get_to(record.sequence);
  state.at("is_prepared").get_to(record.is_prepared);
  state.at("stop_reason").get_to(record.stop_reason);
  state.at("stop_began").get_to(record.stop_began);
  state.at("metrics_offset").get_to(record.metrics.offset);
  record.metrics.float_offset = state.value("float_metrics_offset", int64_t{0});
  record.metrics.float_steps = state.value("float_steps", int64_t{0});
  record.energy = energy_of(state.at("energy"));
  for (const json& remote : state.at("remotes")) {
    record.remotes.push_back({remote.at("number"), remote.at("host"), remote.at("argv")});
  }
  state.at("is_killed").get_to(record.is_killed);
  state.at("remote_from").get_to(record.remote_from);
  state.at("remote_argv").get_to(record.remote_argv);
  if (state.contains("leased_joules")) record.leased_joules = state.at("leased_joules");
  if (state.contains("remote_request")) record.remote_request = state.at("remote_request");
  if (state.contains("exited")) {
    v1::RunExited exited;
    const std::string text = state.at("exited");
    if (!google::protobuf::util::JsonStringToMessage(text, &exited).ok()) {
      throw Error(ErrorCode::kFormat, "\"exited\": no such message");
    }
    record.exited = std::move(exited);
  }
}

/// The clock has begun anew, and so have meters and processes.
void forget_clock(RunRecord& record) {
  record.energy.at = record.energy.cpu_seconds = 0;
  record.energy.readings.clear();
  if (record.stop_began > 0) record.stop_began = boot_seconds();
}

}  // namespace

void create(const std::string& folder, const RunRecord& record) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw Error(ErrorCode::kIo, fmt::format("{}: {}", folder, error.message()));
  try {
    write_file(folder + "/launch.pb", record.launch.SerializeAsString());
    save(folder, record);
  } catch (const Error&) {
    std::filesystem::remove_all(folder, error);
    throw;
  }
}

void save(const std::string& folder, const RunRecord& record) {
  write_file(folder + "/state.json", to_json(record).dump());
}

RunRecord load(const std::string& folder) {
  RunRecord record;
  if (!record.launch.ParseFromString(read_file(folder + "/launch.pb"))) {
    throw Error(ErrorCode::kFormat, folder + "/launch.pb: is no launch");
  }
  const json state = json::parse(read_file(folder + "/state.json"), nullptr, false);
  try {
    read_state(state, record);
    const bool is_of_this_boot = state.value("boot", boot_id()) == boot_id();  // older ones: none
    if (!is_of_this_boot) forget_clock(record);
  } catch (const json::exception& e) {
    throw Error(ErrorCode::kFormat, fmt::format("{}/state.json: {}", folder, e.what()));
  }
  return record;
}

}  // namespace wattle::agent
