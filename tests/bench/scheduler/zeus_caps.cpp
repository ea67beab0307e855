// One job of each of Zeus' six data sets on six V100s under an average of 125, 150 and 175 W a
// device (NSDI'23; summary_power_v100.csv): the mean throughput, relative to 250 W, that the energy
// policy reaches with limits alone, that uniform limits reach, and that the best limits of equal
// sum reach.
//
//   wattle_zeus_caps summary_power_v100.csv
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>

#include "common/error.h"
#include "scheduler/core/policy/policies.h"

namespace wattle::scheduler {
namespace {

struct Point {
  double limit_watts = 0, throughput = 0, watts = 0;
};
/// By limit; throughput relative to the highest one.
using Curve = std::vector<Point>;

const std::vector<std::pair<std::string, int>> kJobs = {
    {"cifar100", 1024},   {"imagenet", 256},      {"squad", 32},
    {"librispeech", 192}, {"movielens-1m", 1024}, {"sentiment140", 128}};

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> parts;
  std::stringstream stream(line);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

/// dataset,network,batch_size,optimizer,power_limit,time_per_epoch,average_power; where a data set
/// was trained with several optimizers, the one with the most limits, then the first.
std::vector<Curve> read_curves(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::kIo, fmt::format("{}: can't be read", path));
  std::map<std::pair<std::string, int>, std::map<std::string, Curve>> curves;
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) {
    const auto parts = split(line);
    if (parts.size() != 7) throw Error(ErrorCode::kFormat, fmt::format("{}: '{}'", path, line));
    curves[{parts[0], std::stoi(parts[2])}][parts[3]].push_back(
        {std::stod(parts[4]), 1 / std::stod(parts[5]), std::stod(parts[6])});
  }
  std::vector<Curve> chosen;
  for (const auto& job : kJobs) {
    Curve best;
    for (auto& [optimizer, curve] : curves[job]) {
      if (curve.size() > best.size()) best = curve;
    }
    std::sort(best.begin(), best.end(),
              [](const Point& a, const Point& b) { return a.limit_watts < b.limit_watts; });
    if (best.empty()) throw Error(ErrorCode::kFormat, fmt::format("{}: no {}", path, job.first));
    for (Point& point : best) point.throughput /= best.back().throughput;
    chosen.push_back(best);
  }
  return chosen;
}

/// The policy sees what a profile book would have measured.
double energy_policy(const std::vector<Curve>& curves, double eta, double average_watts) {
  Snapshot snapshot;
  const DeviceType v100{"V100", 25, 100, 250};
  const int n = static_cast<int>(curves.size());
  snapshot.types = {{v100, n}};
  snapshot.tenants = {{"team", std::nullopt, 0}};
  snapshot.watts = n * (average_watts - v100.idle_watts);
  for (int j = 0; j < n; ++j) {
    Options options;
    for (const Point& p : curves[j]) {
      options.push_back({{0, 1, p.limit_watts}, {p.throughput, p.watts, 0.02, Basis::kMeasured}});
    }
    JobView view;
    view.id = j + 1;
    view.options = std::make_shared<const Options>(std::move(options));
    snapshot.jobs.push_back(view);
  }
  const Plan plan = EnergyPolicy({"energy", eta}).plan(snapshot);
  double sum = 0;
  for (int j = 0; j < n; ++j) {
    const auto& point = plan.choices[j].point;
    if (point) sum += performance_at(*snapshot.jobs[j].options, *point).units_per_second;
  }
  return sum / n;
}

double uniform(const std::vector<Curve>& curves, double limit) {
  double sum = 0;
  for (const Curve& curve : curves) {
    for (const Point& p : curve) sum += p.limit_watts == limit ? p.throughput : 0;
  }
  return sum / static_cast<double>(curves.size());
}

double best_of_equal_sum(const std::vector<Curve>& curves, double average_watts) {
  std::function<double(size_t, double)> best = [&](size_t j, double watts) -> double {
    if (j == curves.size()) return 0;
    double most = -1e9;
    for (const Point& p : curves[j]) {
      if (p.limit_watts > watts + 1e-9) continue;
      most = std::max(most, p.throughput + best(j + 1, watts - p.limit_watts));
    }
    return most;
  };
  const double n = static_cast<double>(curves.size());
  return best(0, average_watts * n) / n;
}

int run(const std::string& path) {
  const std::vector<Curve> curves = read_curves(path);
  const std::map<double, double> floors = {{125, 0.81}, {150, 0.90}, {175, 0.95}};
  bool reached = true;
  fmt::print("{:>10} {:>8} {:>16} {:>16} {:>8} {:>8}\n", "W/device", "uniform", "energy, eta 0",
             "energy, eta 0.5", "best", "floor");
  for (const auto& [watts, floor] : floors) {
    const double energy = energy_policy(curves, 0, watts);
    fmt::print("{:>10} {:>8.3f} {:>16.3f} {:>16.3f} {:>8.3f} {:>8.2f}\n", watts,
               uniform(curves, watts), energy, energy_policy(curves, 0.5, watts),
               best_of_equal_sum(curves, watts), floor);
    reached = reached && energy >= floor;
  }
  return reached ? kExitDone : kExitFailed;
}

}  // namespace
}  // namespace wattle::scheduler

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: wattle_zeus_caps summary_power_v100.csv\n");
    return wattle::kExitUsage;
  }
  try {
    return wattle::scheduler::run(argv[1]);
  } catch (const wattle::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return wattle::exit_code(error.code());
  }
}
