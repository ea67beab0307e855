#include "scheduler/daemon/services/submit/submit_request.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>

#include "common/config/config_file.h"
#include "common/error.h"
#include "common/job_spec.h"
#include "common/text.h"
#include "scheduler/daemon/services/calls/caller.h"
#include "scheduler/daemon/services/submit/bounded_yaml.h"
#include "scheduler/daemon/services/submit/job_paths.h"
#include "scheduler/digest/sha256.h"
#include "scheduler/rpc/agent.pb.h"
#include "scheduler/store/file_store.h"

namespace wattle::scheduler {
namespace {

constexpr size_t kMostYamlBytes = 1 << 20;
constexpr size_t kMostOverrideBytes = 64 << 10;  ///< they go onto a command line
/// Of file, overrides and inputs together: with a sweep's point, the nodes and a checkpoint they
/// are one message to each node.
constexpr size_t kMostLaunchBytes = 3 << 20;

[[noreturn]] void refuse(const std::string& message) {
  throw Refusal(RefusalCode::kInvalid, message);
}

YAML::Node parse(const std::string& text, BoundedYaml& yaml) {
  if (text.size() > kMostYamlBytes) {
    refuse(fmt::format("the file has {} bytes, at most {} are taken", text.size(), kMostYamlBytes));
  }
  try {
    const YAML::Node root = yaml.parse(text, "the file");
    if (!root.IsMap()) refuse("the file is no YAML map");
    return root;
  } catch (const YAML::Exception& e) {
    refuse(fmt::format("the file is no YAML: {}", e.what()));
  }
}

/// What of `run:` matters here.
struct RunSection {
  std::string name;
  std::string output_dir;
  void describe(Fields& f) {
    f("name", name, "");
    f("output_dir", output_dir, "");
  }
};

struct Sections {
  RunSection run;
  JobSpec job;
  void describe(Fields& f) {
    f("run", run, "");
    f("job", job, "");
  }
};

bool concerns_us(const std::string& override_text) {
  return override_text.starts_with("job.") || override_text.starts_with("run.name=") ||
         override_text.starts_with("run.output_dir=");
}

/// What the scheduler reads; what else is in the file is the trainer's.
Sections read_sections(const v1::SubmitRequest& request) {
  Sections sections;
  Fields fields = fields_of(sections);
  ReadOptions options;
  options.shared_sections = {"", "run"};
  for (const std::string& text : request.overrides()) {
    if (text.find('=') == std::string::npos) {
      refuse(fmt::format("override '{}': expected a.b=c", brief(text)));
    }
    if (concerns_us(text)) options.overrides.push_back(text);
  }
  Diagnostics diagnostics;
  read_config_text(request.yaml(), "job file", fields, options, diagnostics);
  diagnostics.throw_if_errors();
  return sections;
}

void check_output_dir(const std::string& path) {
  if (path.empty()) return;
  const std::string trimmed = path.back() == '/' ? path.substr(0, path.size() - 1) : path;
  if (const std::string fault = fault_of_job_path(trimmed); !fault.empty()) {
    refuse(fmt::format("run.output_dir '{}': {}", brief(path), fault));
  }
}

void check_paths(const YAML::Node& root, const v1::SubmitRequest& request, JobPaths& paths) {
  std::string fault = paths.fault_of_file(root);
  for (const std::string& text : request.overrides()) {
    if (fault.empty()) fault = paths.fault_of_override(text);
  }
  if (!fault.empty()) refuse(fault);
}

/// What its jobs are given on their command lines.
void check_sweep(const Sweep& sweep, JobPaths& paths) {
  const auto check = [&paths](const std::string& key, const std::string& value) {
    const std::string fault = paths.fault_of_override(key + "=" + value);
    if (!fault.empty()) refuse("job.sweep: " + fault);
  };
  for (const SweepAxis& axis : sweep.grid) {
    for (const std::string& value : axis.values) check(axis.key, value);
  }
  for (const auto& entry : sweep.list) {
    for (const auto& [key, value] : entry) check(key, value);
  }
}

/// "0-9" or "1,3,5-7" as seeds.
std::vector<std::vector<std::pair<std::string, std::string>>> array_points(
    const std::string& text) {
  std::vector<std::vector<std::pair<std::string, std::string>>> points;
  std::set<int> seeds;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) {
    int first = 0, last = 0;
    const char* end = part.data() + part.size();
    auto parsed = std::from_chars(part.data(), end, first);
    last = first;
    if (parsed.ec == std::errc{} && parsed.ptr != end && *parsed.ptr == '-') {
      parsed = std::from_chars(parsed.ptr + 1, end, last);
    }
    if (parsed.ec != std::errc{} || parsed.ptr != end || first < 0 || last < first) {
      refuse(
          fmt::format("array '{}': expected numbers and ranges such as 0-9 or 1,3,5", brief(text)));
    }
    if (static_cast<size_t>(last - first) + points.size() >= kMostSweepJobs) {
      refuse(fmt::format("array '{}': more than {} jobs", brief(text), kMostSweepJobs));
    }
    for (int seed = first; seed <= last; ++seed) {
      if (!seeds.insert(seed).second) {
        refuse(fmt::format("array '{}': {} is there twice", brief(text), seed));
      }
      points.push_back({{"run.seed", std::to_string(seed)}});
    }
  }
  return points;
}

void check_name(const char* what, const std::string& name) {
  if (name.size() > kMostNameBytes) {
    refuse(fmt::format("{}: expected at most {} bytes, got {}", what, kMostNameBytes, name.size()));
  }
  if (printable(name) != name) {
    refuse(
        fmt::format("{}: expected UTF-8 without control characters, got '{}'", what, brief(name)));
  }
}

/// Each input has a place of its own, that no other file of the job needs for a folder.
void check_places(const v1::SubmitRequest& request) {
  std::set<std::string> places = {"run.yaml", ".job"};  // the agent's
  for (const v1::FileRef& file : request.inputs()) {
    if (!places.insert(file.path()).second) {
      refuse(fmt::format("input '{}': another file has this place", brief(file.path())));
    }
  }
  for (const std::string& path : places) {
    for (size_t end = path.find('/'); end != std::string::npos; end = path.find('/', end + 1)) {
      if (!places.contains(path.substr(0, end))) continue;
      refuse(fmt::format("input '{}': '{}' can't be a file and a folder", brief(path),
                         brief(path.substr(0, end))));
    }
  }
}

void check_launch(const v1::SubmitRequest& request) {
  v1::Launch launch;
  launch.set_yaml(request.yaml());
  *launch.mutable_overrides() = request.overrides();
  *launch.mutable_inputs() = request.inputs();
  const size_t bytes = launch.ByteSizeLong();
  if (bytes <= kMostLaunchBytes) return;
  refuse(
      fmt::format("file, overrides and the names of {} inputs have {} bytes, at most {} are "
                  "taken, for a node is told all of them at once: send many files as one archive",
                  request.inputs_size(), bytes, kMostLaunchBytes));
}

void check_request(const v1::SubmitRequest& request) {
  size_t override_bytes = 0;
  for (const std::string& text : request.overrides()) override_bytes += text.size();
  if (override_bytes > kMostOverrideBytes) {
    refuse(fmt::format("the overrides have {} bytes, at most {} are taken", override_bytes,
                       kMostOverrideBytes));
  }
  check_name("work.kind", request.work().kind());
  for (const v1::WorkEstimate& work : request.point_work()) {
    check_name("point_work.kind", work.kind());
  }
  if (request.request_id().empty() || request.request_id().size() > 128) {
    refuse("request_id: expected 1 to 128 bytes");
  }
  for (const v1::FileRef& file : request.inputs()) {
    const std::string fault = fault_of_job_path(file.path());
    if (!fault.empty()) refuse(fmt::format("input '{}': {}", brief(file.path()), fault));
    if (!is_sha256(file.sha256())) {
      refuse(fmt::format("input '{}': has no SHA-256", brief(file.path())));
    }
  }
  check_places(request);
  check_launch(request);
}

/// Of what the user has handed in. The plan is left out: it may be another each time.
std::string digest_of(const v1::SubmitRequest& request) {
  Sha256 digest;
  const auto add = [&digest](const std::string& text) {
    digest.add(fmt::format("{}:", text.size()));
    digest.add(text);
  };
  for (const std::string* text : {&request.name(), &request.array(), &request.yaml()}) add(*text);
  for (const std::string& text : request.overrides()) add(text);
  for (const v1::FileRef& file : request.inputs()) add(file.sha256()), add(file.path());
  return digest.digits();
}

/// Tenants do not learn from each other's jobs.
WorkEstimate work_of(const v1::WorkEstimate& work, const std::string& tenant) {
  return {work.units(),
          work.kind().empty() ? "" : tenant + "/" + work.kind(),
          {work.rank_counts().begin(), work.rank_counts().end()},
          work.units_per_second()};
}

void choose_tenant(JobSpec& spec, const Identity& caller) {
  const std::string unset = JobSpec{}.tenant;
  if (spec.tenant == unset) spec.tenant = caller.tenant;
  if (spec.tenant == caller.tenant || caller.role == Role::kOperator) return;
  throw Refusal(RefusalCode::kPermission, fmt::format("job.tenant: {} may not submit for tenant {}",
                                                      caller.name, brief(spec.tenant)));
}

/// A priority goes over other tenants' jobs, too. Gives the highest one; none = any.
std::optional<int64_t> check_priority(int64_t priority, const Identity& caller,
                                      const ClusterPriorityOptions& most) {
  if (caller.role == Role::kOperator) return std::nullopt;
  const int64_t bound = caller.role == Role::kTenantAdmin ? most.tenant_admin : most.user;
  if (priority <= bound) return bound;
  throw Refusal(RefusalCode::kPermission,
                fmt::format("job.priority: the role {} may give at most {}, got {}: {} would be "
                            "taken",
                            to_string(caller.role), bound, priority, bound));
}

}  // namespace

CheckedSubmission check_submission(const v1::SubmitRequest& request, const Identity& caller,
                                   const ClusterOptions& options) {
  check_request(request);
  BoundedYaml yaml;
  const YAML::Node root = parse(request.yaml(), yaml);
  JobPaths paths(yaml, options.shared_paths);
  check_paths(root, request, paths);
  Sections sections = read_sections(request);
  check_sweep(sections.job.sweep, paths);
  check_output_dir(sections.run.output_dir);
  choose_tenant(sections.job, caller);
  Submitter submitter;
  submitter.user = caller.name;
  submitter.most_priority = check_priority(sections.job.priority, caller, options.max_priority);
  if (caller.role != Role::kOperator) {
    submitter.most_user_jobs = options.max_jobs.user;
    submitter.most_tenant_jobs = options.max_jobs.tenant;
  }
  check_name("job.tenant", sections.job.tenant);
  for (const std::string& name : sections.job.after) check_name("job.after", name);
  if (!request.array().empty()) {
    if (!sections.job.sweep.empty()) refuse("array: the file has a job.sweep already");
    sections.job.sweep.list = array_points(request.array());
  }
  CheckedSubmission checked;
  Submit& event = checked.event;
  event.submitter = submitter;
  event.request_id = sections.job.tenant + "/" + request.request_id();
  event.name = !request.name().empty()      ? request.name()
               : !sections.run.name.empty() ? sections.run.name
                                            : "job";
  check_name("name", event.name);
  event.spec = std::move(sections.job);
  event.work = work_of(request.work(), event.spec.tenant);
  for (const v1::WorkEstimate& work : request.point_work()) {
    event.point_work.push_back(work_of(work, event.spec.tenant));
  }
  checked.kept = {event.request_id,
                  caller.name,
                  request.yaml(),
                  {request.overrides().begin(), request.overrides().end()},
                  {},
                  digest_of(request)};
  for (const v1::FileRef& file : request.inputs()) {
    checked.kept.inputs.push_back({file.path(), file.sha256(), file.size_bytes()});
  }
  return checked;
}

}  // namespace wattle::scheduler
