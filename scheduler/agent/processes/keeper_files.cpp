#include "scheduler/agent/processes/keeper_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "common/atomic_file.h"
#include "common/error.h"

namespace wattle::agent {
namespace {

using nlohmann::json;

std::optional<json> read_json(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  json value = json::parse(text, nullptr, false);
  if (value.is_discarded() || !value.is_object()) {
    throw Error(ErrorCode::kFormat, fmt::format("{}: expected a JSON object", path));
  }
  return value;
}

void write_json(const std::string& path, const json& value) {
  AtomicFile file(path);
  file.write(value.dump());
  file.commit();
}

std::optional<ProcessId> read_process(const std::string& path) {
  const auto value = read_json(path);
  if (!value) return std::nullopt;
  return ProcessId{value->at("pid"), value->at("start_ticks")};
}

template <class T>
void put(json& object, const char* key, const std::optional<T>& value) {
  if (value) object[key] = *value;
}

template <class T>
std::optional<T> get(const json& object, const char* key) {
  if (!object.contains(key)) return std::nullopt;
  return object.at(key).get<T>();
}

json to_json(const RunLimits& limits) {
  json object = json::object();
  put(object, "memory_bytes", limits.memory_bytes);
  put(object, "processes", limits.processes);
  put(object, "open_files", limits.open_files);
  put(object, "file_bytes", limits.file_bytes);
  return object;
}

RunLimits limits_of(const json& object) {
  return {get<int64_t>(object, "memory_bytes"), get<int64_t>(object, "processes"),
          get<int64_t>(object, "open_files"), get<int64_t>(object, "file_bytes")};
}

json to_json(const Account& account) {
  return {
      {"name", account.name}, {"uid", account.uid}, {"gid", account.gid}, {"home", account.home}};
}

}  // namespace

void write_order(const std::string& folder, const KeeperOrder& order) {
  json object{{"argv", order.argv},
              {"environment", order.environment},
              {"folder", order.folder},
              {"cpus", order.cpus},
              {"limits", to_json(order.limits)},
              {"lease_file", order.lease_file},
              {"joules_file", order.joules_file},
              {"stop_seconds", order.stop_seconds},
              {"fallback",
               {{"control_file", order.fallback.control_file},
                {"cap_watts", order.fallback.cap_watts},
                {"freezes", order.fallback.freezes},
                {"gpu_limits", order.fallback.gpu_limits}}}};
  if (order.account) object["account"] = to_json(*order.account);
  put(object, "childless_seconds", order.childless_seconds);
  write_json(folder + "/order.json", object);
}

KeeperOrder read_order(const std::string& folder) {
  const auto object = read_json(folder + "/order.json");
  if (!object) throw Error(ErrorCode::kIo, folder + "/order.json: can't be read");
  KeeperOrder order;
  object->at("argv").get_to(order.argv);
  object->at("environment").get_to(order.environment);
  object->at("folder").get_to(order.folder);
  object->at("cpus").get_to(order.cpus);
  order.limits = limits_of(object->at("limits"));
  object->at("lease_file").get_to(order.lease_file);
  order.joules_file = object->value("joules_file", "");  // an older agent's has none
  object->at("stop_seconds").get_to(order.stop_seconds);
  const json& fallback = object->at("fallback");
  fallback.at("control_file").get_to(order.fallback.control_file);
  fallback.at("cap_watts").get_to(order.fallback.cap_watts);
  fallback.at("freezes").get_to(order.fallback.freezes);
  fallback.at("gpu_limits").get_to(order.fallback.gpu_limits);
  if (object->contains("account")) {
    const json& account = object->at("account");
    order.account =
        Account{account.at("name"), account.at("uid"), account.at("gid"), account.at("home")};
  }
  order.childless_seconds = get<double>(*object, "childless_seconds");
  return order;
}

std::string keeper_lock(const std::string& folder) { return folder + "/keeper.lock"; }

bool is_keeper_lock_held(const std::string& folder) {
  const int fd = ::open(keeper_lock(folder).c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return false;
  const bool is_held = ::flock(fd, LOCK_EX | LOCK_NB) != 0;
  ::close(fd);
  return is_held;
}

void write_process(const std::string& path, const ProcessId& process) {
  write_json(path, {{"pid", process.pid}, {"start_ticks", process.start_ticks}});
}

void write_ending(const std::string& folder, const Ending& ending) {
  json object{{"exit_code", ending.exit_code},
              {"ended", ending.ended},
              {"error", ending.error},
              {"fault", static_cast<int>(ending.fault)}};
  put(object, "cpu_seconds", ending.cpu_seconds);
  write_json(folder + "/ending.json", object);
}

std::optional<ProcessId> keeper_of(const std::string& folder) {
  return read_process(folder + "/keeper.json");
}

std::optional<ProcessId> command_of(const std::string& folder) {
  return read_process(folder + "/command.json");
}

std::optional<Ending> ending_of(const std::string& folder) {
  const auto value = read_json(folder + "/ending.json");
  if (!value) return std::nullopt;
  return Ending{value->at("exit_code"), get<double>(*value, "cpu_seconds"), value->at("ended"),
                value->at("error"), static_cast<StartFault>(value->value("fault", 0))};
}

}  // namespace wattle::agent
