#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "common/error.h"
#include "launch/train/commands/commands.h"
#include "launch/train/plan/run_plan.h"

namespace wattle {
namespace {

using Json = nlohmann::ordered_json;

Json lines_of(const std::string& text) {
  Json lines = Json::array();
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

Json verdict(bool valid, const std::string& errors, const std::vector<std::string>& warnings) {
  return {{"valid", valid}, {"errors", lines_of(errors)}, {"warnings", warnings}};
}

Json inputs_json(const std::vector<NamedInput>& inputs) {
  Json json = Json::array();
  for (const NamedInput& input : inputs) {
    json.push_back({{"place", input.place}, {"key", input.key}, {"path", input.path}});
  }
  return json;
}

void print_for_people(const Json& plan, const std::string& resolved) {
  std::cout << resolved << "\n";
  for (const auto& [key, value] : plan.items()) {
    if (value.is_object()) {
      for (const auto& [part, figure] : value.items()) {
        std::cout << fmt::format("{:<36} {}\n", key + "." + part, figure.dump());
      }
    } else {
      std::cout << fmt::format("{:<36} {}\n", key, value.dump());
    }
  }
}

}  // namespace

int plan_command(const PlanRequest& request) {
  std::vector<std::string> warnings;
  std::vector<NamedInput> inputs;
  try {
    const RunConfig config = read_run_config(request.config, request.overrides, warnings, &inputs);
    for (const std::string& warning : warnings) std::cerr << "warning: " << warning << '\n';
    const Json plan = to_json(make_run_plan(config, request.ranks));
    RunConfig resolved = config;
    const std::string text = write_config(fields_of(resolved));
    if (!request.json) {
      print_for_people(plan, text);
      return kExitDone;
    }
    Json answer = verdict(true, "", warnings);
    answer.update(plan);
    answer["inputs"] = inputs_json(inputs);
    answer["resolved"] = text;
    std::cout << answer.dump() << std::endl;
    return kExitDone;
  } catch (const Error& error) {
    if (request.json) std::cout << verdict(false, error.what(), warnings).dump() << std::endl;
    throw;
  }
}

}  // namespace wattle
