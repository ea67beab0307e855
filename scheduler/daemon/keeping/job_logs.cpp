#include "scheduler/daemon/keeping/job_logs.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <fstream>

#include "common/error.h"

namespace wattle::scheduler {
namespace {

int64_t size_of(const std::string& path) {
  std::error_code missing;
  const auto size = std::filesystem::file_size(path, missing);
  return missing ? 0 : static_cast<int64_t>(size);
}

std::string cut_line(int64_t bytes) {
  return fmt::format("\nwattled: the log of this run ends here: {} bytes of it are kept\n", bytes);
}

}  // namespace

JobLogs::JobLogs(std::string folder, int64_t most_bytes)
    : folder_(std::move(folder)), most_bytes_(most_bytes) {
  std::filesystem::create_directories(folder_);
}

std::map<int64_t, std::string> JobLogs::runs_of(int64_t job) const {
  std::map<int64_t, std::string> runs;
  std::error_code missing;
  const std::filesystem::path folder = fmt::format("{}/{}", folder_, job);
  for (const auto& entry : std::filesystem::directory_iterator(folder, missing)) {
    const std::string name = entry.path().stem().string();
    int64_t token = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), token);
    if (parsed.ptr == name.data() + name.size()) runs[token] = entry.path().string();
  }
  return runs;
}

void JobLogs::append(int64_t job, int64_t token, int64_t offset, std::string_view data) {
  const std::lock_guard lock(mutex_);
  const std::string folder = fmt::format("{}/{}", folder_, job);
  std::filesystem::create_directories(folder);
  const std::string path = fmt::format("{}/{}.log", folder, token);
  const int64_t size = size_of(path);
  if (offset > size || offset + static_cast<int64_t>(data.size()) <= size) return;
  if (size > most_bytes_) return;
  std::string_view rest = data.substr(static_cast<size_t>(size - offset));
  const auto room = static_cast<size_t>(most_bytes_ - size);
  std::ofstream file(path, std::ios::binary | std::ios::app);
  file << rest.substr(0, room);
  if (rest.size() > room) file << cut_line(most_bytes_);
  if (!file.flush()) throw Error(ErrorCode::kIo, fmt::format("{}: can't be written", path));
}

int64_t JobLogs::size(int64_t job, int64_t token) const {
  return size_of(fmt::format("{}/{}/{}.log", folder_, job, token));
}

int64_t JobLogs::total(int64_t job) const {
  int64_t bytes = 0;
  for (const auto& [token, path] : runs_of(job)) bytes += size_of(path);
  return bytes;
}

std::set<int64_t> JobLogs::jobs() const {
  std::set<int64_t> jobs;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, missing)) {
    const std::string name = entry.path().filename().string();
    int64_t job = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), job);
    if (parsed.ptr == name.data() + name.size()) jobs.insert(job);
  }
  return jobs;
}

void JobLogs::remove(int64_t job) {
  const std::lock_guard lock(mutex_);
  std::filesystem::remove_all(fmt::format("{}/{}", folder_, job));
}

std::string JobLogs::read(int64_t job, int64_t offset, size_t most) const {
  std::string text;
  for (const auto& [token, path] : runs_of(job)) {
    const int64_t size = size_of(path);
    if (offset < size && text.size() < most) {
      std::ifstream file(path, std::ios::binary);
      file.seekg(offset);
      std::string piece(std::min(most - text.size(), static_cast<size_t>(size - offset)), '\0');
      file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
      text.append(piece, 0, static_cast<size_t>(file.gcount()));
    }
    offset = std::max<int64_t>(0, offset - size);
  }
  return text;
}

}  // namespace wattle::scheduler
