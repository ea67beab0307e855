#include "common/job_spec.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdio>

#include "common/error.h"
#include "common/text.h"

namespace wattle {
namespace {

/// A scalar as it stands, a list or a map in YAML's flow style: what `--set` reads back.
std::string override_text(const YAML::Node& value) {
  if (value.IsScalar()) return value.Scalar();
  YAML::Emitter emitter;
  emitter << YAML::Flow << value;
  return emitter.c_str();
}

std::string read_grid(const YAML::Node& node, std::vector<SweepAxis>& grid) {
  if (!node.IsMap() || node.size() == 0) return "grid: expected keys, each with a list of values";
  for (const auto& entry : node) {
    SweepAxis axis{entry.first.Scalar(), {}};
    if (!entry.second.IsSequence() || entry.second.size() == 0) {
      return fmt::format("grid: {}: expected a list of at least one value", axis.key);
    }
    for (const YAML::Node& value : entry.second) axis.values.push_back(override_text(value));
    grid.push_back(std::move(axis));
  }
  return "";
}

std::string read_entries(const YAML::Node& node, decltype(Sweep::list)& list) {
  if (!node.IsSequence() || node.size() == 0) return "list: expected a list of sections";
  for (const YAML::Node& entry : node) {
    if (!entry.IsMap() || entry.size() == 0) return "list: expected each entry to set some keys";
    auto& overrides = list.emplace_back();
    for (const auto& pair : entry) {
      overrides.emplace_back(pair.first.Scalar(), override_text(pair.second));
    }
  }
  return "";
}

std::string read_sweep(const YAML::Node& node, Sweep& sweep) {
  if (!node.IsMap() || node.size() != 1 || !(node["grid"] || node["list"])) {
    return "expected either grid: {key: [values]} or list: [{key: value}]";
  }
  Sweep read;
  const std::string wrong =
      node["grid"] ? read_grid(node["grid"], read.grid) : read_entries(node["list"], read.list);
  if (wrong.empty()) sweep = std::move(read);
  return wrong;
}

void write_sweep(const Sweep& sweep, YAML::Node& node) {
  for (const SweepAxis& axis : sweep.grid) {
    for (const std::string& value : axis.values)
      node["grid"][axis.key].push_back(YAML::Load(value));
  }
  for (const auto& overrides : sweep.list) {
    YAML::Node entry;
    for (const auto& [key, value] : overrides) entry[key] = YAML::Load(value);
    node["list"].push_back(entry);
  }
}

/// The schema has no free maps: this one key brings its own reader and writer.
void describe_sweep(Fields& f, Sweep& sweep) {
  std::vector<std::string> unused;
  Field& field = f("sweep", unused, "one job of each combination (grid) or entry (list) of keys");
  field.type = "grid: {key: [values]} or list: [{key: value}]";
  field.default_text.clear();
  field.read = [&sweep](const YAML::Node& node) { return read_sweep(node, sweep); };
  field.write = [&sweep](YAML::Node& node) { write_sweep(sweep, node); };
  field.present = [&sweep] { return !sweep.empty(); };
}

/// At most a bit more than kMostSweepJobs, whatever the axes say.
size_t jobs_of(const Sweep& sweep) {
  size_t jobs = std::max<size_t>(1, sweep.list.size());
  for (const SweepAxis& axis : sweep.grid) {
    jobs = std::min(jobs * axis.values.size(), size_t{1} << 32);
  }
  return jobs;
}

/// The overrides of all jobs together, and the longest one; REQUIRES a number of jobs that is
/// taken.
struct SweepSize {
  size_t bytes = 0;
  size_t longest = 0;
  size_t keys = 0;

  explicit SweepSize(const Sweep& sweep) {
    const size_t jobs = jobs_of(sweep);
    for (const SweepAxis& axis : sweep.grid) {
      for (const std::string& value : axis.values) {
        add(axis.key.size() + 1 + value.size(), jobs / axis.values.size());
      }
    }
    for (const auto& entry : sweep.list) {
      keys = std::max(keys, entry.size());
      for (const auto& [key, value] : entry) {
        add(key.size() + 1 + value.size(), jobs / sweep.list.size());
      }
    }
    keys += sweep.grid.size();
  }

 private:
  void add(size_t override_bytes, size_t times) {
    bytes += override_bytes * times;
    longest = std::max(longest, override_bytes);
  }
};

/// Words with dots between them.
bool is_key(const std::string& text) {
  char before = '.';
  for (const char c : text) {
    const bool is_of_word = std::isalnum(static_cast<unsigned char>(c)) || c == '_';
    if (!is_of_word && (c != '.' || before == '.')) return false;
    before = c;
  }
  return before != '.';
}

std::string fault_of_key(const std::string& key) {
  // In an override the value begins after the first '='.
  if (!is_key(key)) return fmt::format("'{}': expected a key as in train.steps", brief(key));
  // The scheduler reads these once for all jobs of a sweep.
  const bool is_common = key == "job" || key.starts_with("job.") || key == "run.output_dir";
  return is_common ? fmt::format("{} is the same for all jobs of a sweep: submit them apart", key)
                   : "";
}

std::string fault_of_keys(const Sweep& sweep) {
  for (const SweepAxis& axis : sweep.grid) {
    if (std::string fault = fault_of_key(axis.key); !fault.empty()) return fault;
  }
  for (const auto& entry : sweep.list) {
    for (const auto& [key, value] : entry) {
      if (std::string fault = fault_of_key(key); !fault.empty()) return fault;
    }
  }
  return "";
}

/// "" or what of it is not taken.
std::string excess_of(const Sweep& sweep) {
  if (std::string fault = fault_of_keys(sweep); !fault.empty()) return fault;
  const size_t jobs = jobs_of(sweep);
  if (jobs == 0) return "has a key without values";
  if (jobs > kMostSweepJobs) {
    return fmt::format("makes {} jobs, at most {} are taken", jobs, kMostSweepJobs);
  }
  const SweepSize size(sweep);
  if (size.keys > kMostSweepKeys) {
    return fmt::format("sets {} keys of a job, at most {} are taken", size.keys, kMostSweepKeys);
  }
  if (size.longest > kMostOverrideBytes) {
    return fmt::format("a key and its value have {} bytes, at most {} are taken", size.longest,
                       kMostOverrideBytes);
  }
  if (size.bytes > kMostSweepBytes) {
    return fmt::format("the overrides of its {} jobs have {} bytes, at most {} are taken", jobs,
                       size.bytes, kMostSweepBytes);
  }
  return "";
}

}  // namespace

void RankRange::describe(Fields& f) {
  f("min", min, "fewest ranks the job runs with").at_least(1).at_most(kMostRanks);
  f("max", max, "most ranks the job can use").at_least(1).at_most(kMostRanks).default_is("min");
  f.check([this](Checker& c) {
    if (!c.given("max")) max = std::max(max, min);
    c.require(min <= max, "max", fmt::format("expected at least min ({}), got {}", min, max));
  });
}

void JobSpec::describe(Fields& f) {
  f("tenant", tenant, "who pays for the joules");
  f("priority", priority, "jobs of a higher priority go first").at_least(-1000).at_most(1000);
  f("ranks", ranks, "how many ranks, all at once or none");
  f("deadline", deadline, "when it should be done, UTC, as in 2026-11-24T08:00:00Z");
  f("energy_budget_joules", energy_budget_joules,
    "the job stops with a checkpoint when it is spent")
      .greater_than(0)
      .unit("J");
  describe_sweep(f, sweep);
  f("after", after, "jobs (name or number) that must be completed before");
  f.check([this](Checker& c) {
    c.require(!deadline || parse_utc_time(*deadline), "deadline",
              "expected a time in UTC as in 2026-11-24T08:00:00Z");
    c.require(!tenant.empty(), "tenant", "is empty");
    for (const auto& [key, excess] : excesses_of(*this)) {
      if (key != "ranks") c.require(false, key, excess);  // those know their own bounds
    }
  });
}

std::vector<std::pair<std::string, std::string>> excesses_of(const JobSpec& spec) {
  std::vector<std::pair<std::string, std::string>> excesses;
  const auto most = [&](const std::string& key, size_t got, size_t limit, const char* unit) {
    if (got <= limit) return;
    excesses.emplace_back(key, fmt::format("expected at most {}{}, got {}", limit, unit, got));
  };
  const RankRange& ranks = spec.ranks;
  if (ranks.min < 1 || ranks.max < ranks.min || ranks.max > kMostRanks) {
    excesses.emplace_back("ranks", fmt::format("expected 1 <= min <= max <= {}, got {} and {}",
                                               kMostRanks, ranks.min, ranks.max));
  }
  most("tenant", spec.tenant.size(), kMostNameBytes, " bytes");
  most("after", spec.after.size(), kMostAfter, " jobs");
  for (size_t i = 0; i < spec.after.size(); ++i) {
    // A job of a sweep has its number behind the name.
    most(fmt::format("after[{}]", i), spec.after[i].size(), kMostNameBytes + 8, " bytes");
  }
  if (std::string excess = excess_of(spec.sweep); !excess.empty()) {
    excesses.emplace_back("sweep", std::move(excess));
  }
  return excesses;
}

std::vector<std::vector<std::string>> expand_sweep(const Sweep& sweep) {
  if (const std::string excess = excess_of(sweep); !excess.empty()) {
    throw Error(ErrorCode::kConfig, "job.sweep: " + excess);
  }
  std::vector<std::vector<std::string>> jobs;
  for (const auto& entry : sweep.list) {
    auto& overrides = jobs.emplace_back();
    for (const auto& [key, value] : entry) overrides.push_back(key + "=" + value);
  }
  if (sweep.list.empty()) jobs.emplace_back();
  for (const SweepAxis& axis : sweep.grid) {
    std::vector<std::vector<std::string>> product;
    for (const auto& overrides : jobs) {
      for (const std::string& value : axis.values) {
        product.push_back(overrides);
        product.back().push_back(axis.key + "=" + value);
      }
    }
    jobs = std::move(product);
  }
  return jobs;
}

std::optional<double> parse_utc_time(const std::string& text) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, used = 0;
  const char* rest = text.c_str();
  if (std::sscanf(rest, "%4d-%2d-%2dT%2d:%2d%n", &year, &month, &day, &hour, &minute, &used) != 5) {
    return std::nullopt;
  }
  rest += used;
  if (std::sscanf(rest, ":%2d%n", &second, &used) == 1) rest += used;
  if (std::string(rest) != "Z") return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month),
                                         std::chrono::day(day)};
  if (!date.ok() || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 ||
      second > 60) {
    return std::nullopt;
  }
  const auto days = std::chrono::sys_days(date).time_since_epoch().count();
  return static_cast<double>(days) * 86400 + hour * 3600 + minute * 60 + second;
}

}  // namespace wattle
