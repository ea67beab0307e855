// How much of the energy that power limits could save does the tuner save, profiling included?
//
//   zeus_power_limits summary_power_a40.csv summary_power_v100.csv summary_power_p100.csv
//
// The files are Zeus' measured curves (NSDI'23, trace/summary_power_*.csv). For each GPU: the mean
// over all (dataset, network, batch size, optimizer) of the saving against the highest limit at a
// fixed batch size, with at most 5 % slower epochs; what is possible, what the tuner reaches after
// the cost of profiling in runs of some lengths, and the slowest run.

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "common/error.h"
#include "tests/energy/support/zeus_replay.h"

namespace wattle {
namespace {

constexpr double kStepSeconds = 0.25;

std::vector<PowerCurve> read_curves(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) throw Error(ErrorCode::kIo, path + ": can't be read");
  std::map<std::string, PowerCurve> curves;
  while (std::getline(file, line)) {
    std::istringstream row(line);
    std::vector<std::string> cells;
    for (std::string cell; std::getline(row, cell, ',');) cells.push_back(cell);
    if (cells.size() != 7) throw Error(ErrorCode::kFormat, path + ": expected 7 cells: " + line);
    const std::string name = fmt::format("{}", fmt::join(cells.begin(), cells.begin() + 4, " "));
    curves[name].name = name;
    curves[name].by_limit[std::stod(cells[4])] = {std::stod(cells[5]), std::stod(cells[6])};
  }
  std::vector<PowerCurve> all;
  for (auto& [name, curve] : curves) all.push_back(std::move(curve));
  return all;
}

struct Summary {
  double saving = 0, slowest = 0, profiling_seconds = 0;
};

Summary tune_all(const std::vector<PowerCurve>& curves, double run_seconds) {
  EnergyOptions options;
  options.tune_power_limit = TuneObjective::kEnergy;
  Summary summary;
  const double count = static_cast<double>(curves.size());
  for (const PowerCurve& curve : curves) {
    PowerLimitTuner tuner(options, curve.falling_limits(), curve.by_limit.rbegin()->first);
    const ReplayedRun run = replay(curve, tuner, run_seconds, kStepSeconds);
    const double unlimited = run_seconds * curve.unlimited().power_watts;
    summary.saving += (1 - run.joules / unlimited) / count;
    summary.slowest = std::max(summary.slowest, run.seconds / run_seconds);
    summary.profiling_seconds += run.profiling_seconds / count;
  }
  return summary;
}

void report(const std::string& path) {
  const std::vector<PowerCurve> curves = read_curves(path);
  double possible = 0;
  for (const PowerCurve& curve : curves) {
    possible += (1 - curve.least_epoch_joules(1.05) / curve.unlimited().epoch_joules()) /
                static_cast<double>(curves.size());
  }
  fmt::print("{}: {} curves, possible {:.2f} %\n", path, curves.size(), 100 * possible);
  for (const double minutes : {5, 10, 20, 60, 600}) {
    const Summary summary = tune_all(curves, 60 * minutes);
    fmt::print(
        "  run of {:3} min: saves {:5.2f} % = {:5.1f} % of it; profiling {:.0f} s, slowest "
        "run {:+.1f} %\n",
        minutes, 100 * summary.saving, 100 * summary.saving / possible, summary.profiling_seconds,
        100 * (summary.slowest - 1));
  }
}

}  // namespace
}  // namespace wattle

int main(int argc, char** argv) {
  try {
    if (argc < 2) throw wattle::Error(wattle::ErrorCode::kConfig, "expected summary_power_*.csv");
    for (int i = 1; i < argc; ++i) wattle::report(argv[i]);
  } catch (const std::exception& e) {
    fmt::print(stderr, "zeus_power_limits: {}\n", e.what());
    return wattle::kExitFailed;
  }
  return wattle::kExitDone;
}
