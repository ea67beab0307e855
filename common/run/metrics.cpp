#include "common/run/metrics.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/error.h"

namespace wattle {
namespace {

using Json = nlohmann::ordered_json;

/// Calls visit(key, member) for every member but the energy source, in the order of the file.
template <class Record, class Visit>
void for_each_member(Record& r, Visit visit) {
  visit("phase", r.phase);
  visit("attempt", r.attempt);
  visit("step", r.step);
  visit("loss", r.loss);
  visit("lr", r.lr);
  visit("grad_norm", r.grad_norm);
  visit("tokens", r.tokens);
  visit("tokens_per_s", r.tokens_per_s);
  visit("samples_per_s", r.samples_per_s);
  visit("step_seconds", r.step_seconds);
  visit("mfu", r.mfu);
  visit("energy_joules", r.energy_joules);
  visit("energy_joules_total", r.energy_joules_total);
  visit("run_energy_joules", r.run_energy_joules);
  visit("power_watts", r.power_watts);
  visit("energy_source", r.energy_source);
  visit("peak_memory_bytes", r.peak_memory_bytes);
  visit("eval_loss", r.eval_loss);
  visit("perplexity", r.perplexity);
  visit("accuracy", r.accuracy);
  visit("event", r.event);
  visit("skipped", r.skipped);
}

/// JSON has no NaN: a value that is not finite is written as text, so that it is not lost.
template <class T>
Json json_of(const T& value) {
  if constexpr (std::is_same_v<T, double>) {
    if (!std::isfinite(value)) return fmt::format("{}", value);
  }
  return value;
}

template <class T>
T value_of(const Json& json) {
  if constexpr (std::is_same_v<T, double>) {
    if (json.is_string()) return std::stod(json.get<std::string>());
  }
  return json.get<T>();
}

struct ToJson {
  Json& json;
  void operator()(const char* key, const bool& value) const {
    if (value) json[key] = true;
  }
  template <class T>
  void operator()(const char* key, const std::optional<T>& value) const {
    if (value) json[key] = json_of(*value);
  }
  template <class T>
  void operator()(const char* key, const T& value) const {
    json[key] = json_of(value);
  }
};

struct FromJson {
  const Json& json;
  template <class T>
  void operator()(const char* key, std::optional<T>& value) const {
    if (json.contains(key)) value = value_of<T>(json.at(key));
  }
  template <class T>
  void operator()(const char* key, T& value) const {
    if (json.contains(key)) value = value_of<T>(json.at(key));
  }
};

}  // namespace

std::string MetricsRecord::to_json() const {
  Json json;
  for_each_member(*this, ToJson{json});
  return json.dump();
}

MetricsRecord MetricsRecord::from_json(const std::string& line) {
  MetricsRecord record;
  try {
    const Json json = Json::parse(line);
    for_each_member(record, FromJson{json});
  } catch (const std::exception& e) {
    throw Error(ErrorCode::kFormat,
                fmt::format("expected a metrics record, got '{}' ({})", line, e.what()));
  }
  return record;
}

MetricsWriter::MetricsWriter(std::string path) : path_(std::move(path)) {
  // A crash may have cut the last line; what comes next starts on a line of its own.
  bool whole = true;
  if (std::ifstream existing(path_, std::ios::binary | std::ios::ate); existing) {
    if (existing.tellg() > 0) {
      existing.seekg(-1, std::ios::end);
      whole = existing.get() == '\n';
    }
  }
  file_.open(path_, std::ios::app);
  if (!whole) file_ << '\n';
  if (!file_) throw Error(ErrorCode::kIo, path_ + ": can't be opened for appending");
}

void MetricsWriter::append(const MetricsRecord& record) {
  file_ << record.to_json() << '\n' << std::flush;
  if (!file_) throw Error(ErrorCode::kIo, path_ + ": a record can't be written; is the disk full?");
}

std::vector<MetricsRecord> read_metrics(const std::string& path) {
  std::vector<MetricsRecord> records;
  std::ifstream file(path);
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.empty() || line.back() != '}') continue;
    try {
      records.push_back(MetricsRecord::from_json(line));
    } catch (const Error& e) {
      throw Error(e.code(), fmt::format("{}:{}: {}", path, number, e.what()));
    }
  }
  return records;
}

}  // namespace wattle
