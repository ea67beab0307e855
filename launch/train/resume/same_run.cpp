#include "launch/train/resume/same_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "common/error.h"
#include "trainer/data/order/stream_hash.h"

namespace wattle {
namespace {

constexpr int64_t kSamplesHashed = 64;

/// The size and a hash over samples spread evenly from the first to the last.
std::string describe_data(const Dataset& data) {
  const int64_t count = std::min(kSamplesHashed, data.size());
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < count; ++i) {
    indices.push_back(count == 1 ? 0 : i * (data.size() - 1) / (count - 1));
  }
  StreamHash hash;
  hash.add(data.fetch(indices), indices);
  return fmt::format("{} samples with the hash {}", data.size(), hash.hex());
}

/// The keys below `fields`, which are all scalars or lists in one line.
RunIdentity values_of(const std::string& section, const Fields& fields) {
  RunIdentity values;
  std::istringstream lines(write_config(fields));
  std::string key;
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (line.front() != ' ' && line.front() != '-' && colon != std::string::npos) {
      key = section + "." + line.substr(0, colon);
      values[key] = line.size() > colon + 2 ? line.substr(colon + 2) : "";
    } else {
      values[key] += line;  // an entry of the list that the last key began
    }
  }
  return values;
}

std::string value_in(const RunIdentity& identity, const std::string& key) {
  const auto it = identity.find(key);
  return it == identity.end() ? "absent" : it->second;
}

}  // namespace

RunIdentity shape_identity(const ModelOptions& model) {
  ModelOptions shape = model;
  RunIdentity identity = values_of("model", fields_of(shape));
  identity.erase("model.init_from");  // where the first weights came from; the shape is here
  return identity;
}

RunIdentity identity_of(const RunConfig& config, const ModelOptions& model, const BatchPlan& plan,
                        const Dataset& train) {
  RunIdentity identity = shape_identity(model);
  RunConfig copy = config;
  identity["train.precision"] = values_of("train", fields_of(copy.train)).at("train.precision");
  identity["train.micro_batch"] = fmt::format("{}", plan.micro_batch);
  identity["run.deterministic"] = fmt::format("{}", config.run.deterministic);
  identity["optimizer.name"] = values_of("o", fields_of(copy.optimizer)).at("o.name");
  identity["data"] = describe_data(train);
  for (size_t i = 0; i < copy.compression.size(); ++i) {
    std::optional<QuantizeOptions>& quantize = copy.compression[i].quantize;
    if (quantize) quantize = quantize->of_training();
    if (copy.compression[i].distil) copy.compression[i].distil->teacher.reset();  // its hash counts
    const std::string text = write_config(fields_of(copy.compression[i]));
    std::string& value = identity[fmt::format("compression.{}", i)];
    std::ranges::unique_copy(text, std::back_inserter(value),
                             [](char a, char b) { return std::isspace(a) && std::isspace(b); });
    std::ranges::replace(value, '\n', ' ');
  }
  return identity;
}

std::string to_section(const RunIdentity& identity) { return nlohmann::json(identity).dump(); }

RunIdentity identity_from_section(const std::string& section) {
  return nlohmann::json::parse(section).get<RunIdentity>();
}

void check_same_run(const RunIdentity& now, const RunIdentity& then, bool deterministic,
                    const std::string& checkpoint) {
  RunIdentity keys = now;
  keys.insert(then.begin(), then.end());
  std::string differences;
  for (const auto& [key, unused] : keys) {
    const std::string here = value_in(now, key), there = value_in(then, key);
    const bool may_change = key == "train.micro_batch" || key == "train.precision";
    if (here == there || (may_change && !deterministic)) continue;
    differences +=
        fmt::format("{}: {}, but {} was trained with {}\n", key, here, checkpoint, there);
  }
  if (differences.empty()) return;
  throw Error(ErrorCode::kConfig,
              differences + "use another run.output_dir, or the settings of the checkpoint");
}

}  // namespace wattle
