#include "scheduler/agent/files/job_files.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "common/atomic_file.h"
#include "common/error.h"
#include "common/text.h"
#include "scheduler/agent/files/tails.h"

namespace wattle::agent {
namespace {

namespace fs = std::filesystem;

/// The one key of the file that the agent has to know. What the trainer takes it for can't differ,
/// for job_command() sets it once more, last of all.
std::string output_dir_of(const v1::Launch& launch) {
  try {
    YAML::Node node = YAML::Load(launch.yaml())["run"]["output_dir"];
    for (const std::string& override : launch.overrides()) {
      constexpr std::string_view kKey = "run.output_dir=";
      if (override.starts_with(kKey)) node = YAML::Load(override.substr(kKey.size()));
    }
    if (node.IsDefined() && node.IsScalar()) return node.Scalar();
  } catch (const YAML::Exception& e) {
    throw Error(ErrorCode::kConfig, fmt::format("run.yaml: {}", e.what()));
  }
  throw Error(ErrorCode::kConfig, "run.yaml: run.output_dir is required");
}

/// N of a folder step-N; -1 if it has another name.
int64_t step_of(const std::string& name) {
  return number_after<int64_t>("step-", name).value_or(-1);
}

fs::path newest_checkpoint(const fs::path& output_dir) {
  fs::path newest;
  int64_t newest_step = -1;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(output_dir / "checkpoints", error)) {
    const int64_t step = step_of(entry.path().filename());
    if (step <= newest_step) continue;
    newest_step = step;
    newest = entry.path();
  }
  return newest;
}

uid_t uid_of(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) return status.st_uid;
  throw Error(ErrorCode::kIo, fmt::format("{}: {}", path, std::strerror(errno)));
}

}  // namespace

JobFiles job_files(const Settings& settings, const v1::Launch& launch) {
  JobFiles files;
  files.folder = fmt::format("{}/{}", settings.jobs_dir, launch.job());
  try {
    files.output_dir = path_below(files.folder, output_dir_of(launch));
  } catch (const Error& e) {
    throw Error(ErrorCode::kConfig, fmt::format("run.output_dir: {}", e.what()));
  }
  return files;
}

void make_folder(const std::string& path, const std::optional<Account>& account) {
  const auto fail = [&path](const char* what) {
    throw Error(ErrorCode::kIo, fmt::format("{}: {}: {}", path, what, std::strerror(errno)));
  };
  if (::mkdir(path.c_str(), 0700) != 0) {
    if (errno != EEXIST) fail("can't be made");
    // One that is the agent's own was made by another node's, which is about to give it away.
    if (uid_of(path) != ::geteuid()) return;
  }
  if (account && ::lchown(path.c_str(), account->uid, account->gid) != 0) {
    fail("can't be given to the job's account");
  }
}

namespace {

/// Holds the state_dir and the request of the folder's job.
constexpr const char* kOwner = "/.job";
constexpr size_t kLongestOwner = 4096;

/// "" where nobody has noted it.
std::string owner_of(const std::string& folder, const std::optional<Account>& account) {
  const AsUser as_user(account);
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(folder + kOwner, error))) return "";
  return read_piece(folder + kOwner, 0, kLongestOwner);
}

/// What daemons of older versions sent.
std::string without_state_id(const std::string& request) {
  const size_t space = request.find(' ');
  return space == std::string::npos ? request : request.substr(space + 1);
}

/// A job of the same number, of a scheduler with another state_dir, has left its files here: they
/// are neither read nor lost. A folder takes the place of an empty one that was made for it: NFS
/// knows no rename that replaces nothing.
void set_aside(const std::string& folder) {
  for (int i = 1;; ++i) {
    const std::string other = fmt::format("{}.other-{}", folder, i);
    const bool is_made = ::mkdir(other.c_str(), 0700) == 0;
    if (!is_made && errno == EEXIST) continue;
    if (is_made && ::rename(folder.c_str(), other.c_str()) == 0) return;
    const int reason = errno;
    if (is_made) ::rmdir(other.c_str());
    throw Error(ErrorCode::kIo,
                fmt::format("{}: holds another job's files and can't be set aside: {}", folder,
                            std::strerror(reason)));
  }
}

/// Whether the float run that the job goes on from is another than the one on this node, which came
/// as far in a run of the job whose end nobody stored.
bool has_another_float_run(const JobFiles& files, const v1::Launch& launch) {
  const fs::path checkpoints = fs::path(files.float_run()).lexically_normal() / "checkpoints";
  return std::ranges::any_of(launch.checkpoint(), [&](const v1::FileRef& part) {
    const fs::path path = path_below(files.folder, part.path());
    return path.parent_path().parent_path() == checkpoints && fs::exists(path) &&
           !is_there(path, part, Growth::kNone);
  });
}

void claim_folder(const std::string& folder, const v1::Launch& launch,
                  const std::optional<Account>& account) {
  const bool is_anothers = account && uid_of(folder) != account->uid;
  const std::string owner = is_anothers ? "" : owner_of(folder, account);
  if (!is_anothers && owner == launch.request()) return;
  if (is_anothers || (!owner.empty() && owner != without_state_id(launch.request()))) {
    set_aside(folder);
    make_folder(folder, account);
  }
  const AsUser as_user(account);
  AtomicFile file(folder + kOwner);
  file.write(launch.request());
  file.commit();
}

}  // namespace

void prepare(const JobFiles& files, const Settings& settings, const v1::Launch& launch,
             const FileTransfer& transfer, const std::atomic<bool>& gives_up) {
  const std::optional<Account> account = settings.account_of(launch.tenant());
  make_folder(files.folder, account);
  const bool others_do_it = !settings.stores_checkpoints && !launch.hosts().empty() &&
                            launch.hosts(0).node() != settings.node;
  if (others_do_it) return;
  claim_folder(files.folder, launch, account);
  for (const v1::FileRef& input : launch.inputs()) {
    transfer.fetch(input, files.folder, Growth::kNone, account, gives_up);
  }
  {
    const AsUser as_user(account);
    const std::string checkpoints = files.output_dir + "/checkpoints";
    // They were trained after the float run that is about to be replaced.
    if (fs::exists(checkpoints) && has_another_float_run(files, launch)) set_aside(checkpoints);
  }
  const std::array records = {fs::path(files.metrics_file()).lexically_normal(),
                              fs::path(files.float_metrics_file()).lexically_normal()};
  for (const v1::FileRef& part : launch.checkpoint()) {
    // Steps of this node that nobody has stored belong to the job's record.
    const bool is_record =
        std::ranges::find(records, fs::path(path_below(files.folder, part.path()))) !=
        records.end();
    transfer.fetch(part, files.folder, is_record ? Growth::kAppended : Growth::kNone, account,
                   gives_up);
  }
  const AsUser as_user(account);
  AtomicFile yaml(files.folder + "/run.yaml");
  yaml.write(launch.yaml());
  yaml.commit();
}

int64_t steps_in(const std::string& output_dir, const std::optional<Account>& account) {
  const AsUser as_user(account);
  return std::max<int64_t>(0, step_of(newest_checkpoint(output_dir).filename()));
}

std::vector<std::string> checkpoint_paths(const JobFiles& files,
                                          const std::optional<Account>& account) {
  const AsUser as_user(account);
  std::vector<std::string> paths;
  std::error_code error;
  const auto add = [&](const fs::path& path) {
    if (!fs::is_regular_file(path, error)) return;
    paths.push_back(path.lexically_relative(files.folder).string());
  };
  for (const std::string& output_dir : {files.output_dir, files.float_run()}) {
    const fs::path newest = newest_checkpoint(output_dir);
    if (newest.empty()) continue;
    for (const auto& entry : fs::directory_iterator(newest, error)) add(entry.path());
    add(output_dir + "/metrics.jsonl");
  }
  if (!paths.empty()) add(files.float_run() + "/report.json");  // that it is over
  return paths;
}

}  // namespace wattle::agent
