#include "scheduler/agent/runs/job_command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "common/error.h"
#include "common/text.h"

extern char** environ;

namespace wattle::agent {
namespace {

constexpr std::string_view kAlias = "wattle-share-";

void append(std::vector<std::string>& words, std::initializer_list<std::string> more) {
  words.insert(words.end(), more);
}

/// Several nodes: where the ranks are, and who starts mpirun's daemons there.
void add_hosts(std::vector<std::string>& words, const Settings& settings,
               const v1::Launch& launch) {
  std::vector<std::string> hosts;
  for (int i = 0; i < launch.hosts_size(); ++i) {
    hosts.push_back(fmt::format("{}:{}", alias_of(i), launch.hosts(i).ranks()));
  }
  append(words, {"--host", fmt::format("{}", fmt::join(hosts, ",")), "--mca", "plm", "rsh", "--mca",
                 "plm_rsh_agent", settings.self_program + " remote-shell", "--mca",
                 "plm_rsh_no_tree_spawn", "1", "--mca", "orte_leave_session_attached", "1", "--mca",
                 "if_base_do_not_resolve", "1"});
  // Sessions that stay attached are all there at the same time.
  append(words, {"--mca", "plm_rsh_num_concurrent", std::to_string(launch.hosts_size())});
  if (!settings.mpi_network.empty()) {
    append(words, {"--mca", "oob_tcp_if_include", settings.mpi_network, "--mca",
                   "btl_tcp_if_include", settings.mpi_network});
  }
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

/// What a node's ranks are told of it. A trainer without a meter that sees only its own processes
/// holds its cap by the same model by which the agent accounts for it.
std::string node_settings(const std::string& node, const std::vector<NodeDevice>& devices) {
  std::string settings = "energy.host=" + quoted(node);
  if (devices.empty() || devices[0].is_gpu()) return settings;
  double idle_watts = 0;
  for (const NodeDevice& device : devices) idle_watts += device.idle_watts;
  const auto processors = static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN));
  const double max_watts = idle_watts + processors * devices[0].joules_per_cpu_second();
  return settings + fmt::format(";energy.meter=model;energy.idle_watts={};energy.max_watts={}",
                                idle_watts, max_watts);
}

std::string join_cpus(const std::vector<NodeDevice>& devices) {
  std::vector<std::string> lists;
  for (const NodeDevice& device : devices) {
    lists.push_back(fmt::format("{}", fmt::join(device.cpus, ",")));
  }
  return fmt::format("{}", fmt::join(lists, ";"));
}

std::string join_gpus(const std::vector<NodeDevice>& devices) {
  std::vector<std::string> uuids;
  for (const NodeDevice& device : devices) {
    if (device.is_gpu()) uuids.push_back(device.gpu_uuid);
  }
  return fmt::format("{}", fmt::join(uuids, ";"));
}

}  // namespace

std::string alias_of(int host) {
  return host == 0 ? "localhost" : fmt::format("{}{}", kAlias, host);
}

int host_of(const std::string& alias) { return number_after<int>(kAlias, alias).value_or(-1); }

std::string door_name(const v1::Launch& launch) {
  return fmt::format(".remote-{}", launch.token());
}

std::string session_folder(const Settings& settings, const v1::Launch& launch) {
  return fmt::format("{}/sessions/{}", settings.work_dir, launch.token());
}

std::vector<std::string> job_command(const Settings& settings, const v1::Launch& launch,
                                     const JobFiles& files) {
  // By its name: called by a path, mpirun wraps the remote command in settings of a shell.
  std::vector<std::string> words{"mpirun",          "--bind-to", "none",
                                 "--oversubscribe", "-np",       std::to_string(launch.ranks())};
  const std::optional<Account> account = settings.account_of(launch.tenant());
  if (!account ? ::geteuid() == 0 : account->uid == 0) {
    append(words, {"--allow-run-as-root"});
  }
  if (launch.hosts_size() > 1) add_hosts(words, settings, launch);
  append(words, {settings.self_program, "rank", settings.train_program, "run.yaml"});
  for (const std::string& override : launch.overrides()) append(words, {"--set", override});
  const std::string output_dir = files.output_dir.substr(files.folder.size() + 1);
  append(words, {"--set", "run.output_dir=" + quoted(output_dir)});
  return words;
}

std::map<std::string, std::string> job_environment(const Settings& settings,
                                                   const v1::Launch& launch, const JobFiles& files,
                                                   const std::string& run_folder,
                                                   const std::vector<NodeDevice>& devices) {
  std::map<std::string, std::string> environment;
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text = *entry;
    const std::string name(text.substr(0, text.find('=')));
    if (name == "PATH" || name == "LD_LIBRARY_PATH" || name == "LANG" ||
        name.starts_with("OMPI_MCA_")) {
      environment[name] = text.substr(std::min(text.size(), name.size() + 1));
    }
  }
  const std::optional<Account> account = settings.account_of(launch.tenant());
  environment["HOME"] = account ? account->home : files.folder;
  environment["USER"] = account ? account->name : "root";
  environment["TMPDIR"] = session_folder(settings, launch);
  environment["WATTLE_JOB"] = std::to_string(launch.job());
  environment[kRunVariable] = run_folder;
  environment[kFolderVariable] = files.folder;
  environment[kCpusVariable] = join_cpus(devices);
  environment[kGpusVariable] = join_gpus(devices);
  environment[kSettingsVariable] = node_settings(settings.node, devices);
  environment[kDoorVariable] = door_name(launch);
  // Ranks end with the thread that started them (rank.cpp): it must be one that stays.
  environment["OMPI_MCA_odls_base_num_threads"] = "0";
  return environment;
}

}  // namespace wattle::agent
