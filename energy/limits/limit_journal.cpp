#include "energy/limits/limit_journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "common/error.h"

namespace wattle {
namespace {

/// Field 22 of /proc/PID/stat; nothing if there is no such process or it has ended.
std::optional<uint64_t> start_ticks(int pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  if (!std::getline(file, text)) return std::nullopt;
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string state, skipped;
  fields >> state;
  if (state == "Z" || state == "X") return std::nullopt;
  for (int field = 4; field < 22; ++field) fields >> skipped;
  uint64_t ticks = 0;
  if (!(fields >> ticks)) return std::nullopt;
  return ticks;
}

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw Error(ErrorCode::kIo, fmt::format("{}: {}: {}", path, what, std::strerror(errno)));
}

void sync_file(const std::string& path, int flags) {
  const int file = open(path.c_str(), flags | O_CLOEXEC);
  if (file < 0) fail(path, "can't be opened");
  const int code = fsync(file);
  close(file);
  if (code != 0) fail(path, "can't be synced");
}

}  // namespace

bool LimitNote::is_owner_alive() const { return start_ticks(pid) == process_start_ticks; }

bool LimitNote::is_own() const { return pid == getpid() && is_owner_alive(); }

LimitNote LimitNote::of_this_process(uint64_t previous_milliwatts) {
  const int pid = getpid();
  const std::optional<uint64_t> ticks = start_ticks(pid);
  if (!ticks) throw Error(ErrorCode::kIo, "/proc/self/stat: can't be read");
  return {pid, *ticks, previous_milliwatts, {}};
}

std::string LimitJournal::path_of(const std::string& uuid) const {
  return (std::filesystem::path(folder_) / (uuid + ".json")).string();
}

std::optional<LimitNote> LimitJournal::read(const std::string& uuid) const {
  const std::string path = path_of(uuid);
  std::ifstream file(path);
  if (!file) return std::nullopt;
  try {
    const nlohmann::json json = nlohmann::json::parse(file);
    return LimitNote{json.at("pid"), json.at("process_start_ticks"), json.at("previous_milliwatts"),
                     json.at("set_milliwatts").get<std::vector<uint64_t>>()};
  } catch (const nlohmann::json::exception& e) {
    throw Error(ErrorCode::kFormat,
                fmt::format("{}: no note of a power limit: {}; set the GPU's limit by hand "
                            "(nvidia-smi -pl) and remove the file",
                            path, e.what()));
  }
}

void LimitJournal::write(const std::string& uuid, const LimitNote& note) const {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) {
    throw Error(ErrorCode::kIo, fmt::format("{}: can't be made: {}", folder_, error.message()));
  }
  const std::string path = path_of(uuid);
  const std::string aside = path + ".new";
  {
    std::ofstream file(aside, std::ios::trunc);
    file << nlohmann::json{{"pid", note.pid},
                           {"process_start_ticks", note.process_start_ticks},
                           {"previous_milliwatts", note.previous_milliwatts},
                           {"set_milliwatts", note.set_milliwatts}}
                .dump();
    file.close();
    if (!file) throw Error(ErrorCode::kIo, fmt::format("{}: can't be written", aside));
  }
  sync_file(aside, O_RDONLY);
  if (std::rename(aside.c_str(), path.c_str()) != 0) fail(path, "can't be replaced");
  sync_file(folder_, O_RDONLY | O_DIRECTORY);
}

void LimitJournal::erase(const std::string& uuid) const {
  const std::string path = path_of(uuid);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) fail(path, "can't be removed");
}

}  // namespace wattle
