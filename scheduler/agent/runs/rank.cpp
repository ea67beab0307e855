#include <fmt/format.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "common/error.h"
#include "scheduler/agent/runs/job_command.h"

namespace wattle::agent {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool take_cpus(const std::string& list) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const std::string& cpu : split(list, ',')) CPU_SET(std::atoi(cpu.c_str()), &set);
  return CPU_COUNT(&set) == 0 || ::sched_setaffinity(0, sizeof(set), &set) == 0;
}

int fail(const std::string& what) {
  fmt::print(stderr, "wattle-agent rank: {}: {}\n", what, std::strerror(errno));
  return kExitFailed;
}

}  // namespace

int become_rank(const std::vector<std::string>& program) {
  const size_t rank = std::strtoul(variable("OMPI_COMM_WORLD_LOCAL_RANK").c_str(), nullptr, 10);
  const std::vector<std::string> cpus = split(variable(kCpusVariable), ';');
  const std::vector<std::string> gpus = split(variable(kGpusVariable), ';');
  const std::string folder = variable(kFolderVariable);
  // mpirun and orted end with their keepers, and so their ranks do, without anybody's help.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (!folder.empty() && ::chdir(folder.c_str()) != 0) return fail(folder);
  if (rank < cpus.size() && !take_cpus(cpus[rank])) return fail("processors " + cpus[rank]);
  ::setenv("CUDA_VISIBLE_DEVICES", rank < gpus.size() ? gpus[rank].c_str() : "", 1);
  // In /dev/shm the names of ranks' shared memory would be the same for two nodes on one machine,
  // and what a killed run leaves would stay; the session's folder is this node's, and is removed.
  if (const std::string session = variable("TMPDIR"); !session.empty()) {
    ::setenv("OMPI_MCA_btl_vader_backing_directory", session.c_str(), 1);
  }
  std::vector<std::string> words = program;
  for (const std::string& setting : split(variable(kSettingsVariable), ';')) {
    words.insert(words.end(), {"--set", setting});
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  return fail(program[0]);
}

}  // namespace wattle::agent
